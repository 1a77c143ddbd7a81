//! Streams that end in every way there is: half-closed, closed, reset by either side.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::json;

const ABORT: &[u8] = b"abort\n";

/// Options of `stream-client`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Client {
    /// HOST:PORT.
    to: String,
    /// Bytes to send.
    #[arg(long, default_value_t = 100_000)]
    bytes: usize,
    /// How the stream ends.
    #[arg(long, value_enum, default_value_t = End::HalfClose)]
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum End {
    /// The client sends FIN, then reads the server's count.
    HalfClose,
    /// The client resets.
    Reset,
    /// The server is asked to reset.
    ServerReset,
}

/// Reads each connection to its end, prints how it ended, and answers a FIN with the number of bytes.
pub(crate) fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
    println!("listening on {port}");
    for connection in listener.incoming().flatten() {
        std::thread::spawn(move || {
            let ended = receive(connection).unwrap_or_else(|error| format!("error {error:#}"));
            println!("{ended}");
        });
    }
    Ok(())
}

fn receive(mut connection: TcpStream) -> Result<String> {
    connection.set_read_timeout(Some(Duration::from_secs(20)))?;
    let (mut total, mut buffer) = (0usize, vec![0; 65_536]);
    loop {
        match connection.read(&mut buffer) {
            Ok(0) => {
                connection.write_all(format!("{total}\n").as_bytes())?;
                return Ok(format!("eof {total}"));
            }
            Ok(_) if total == 0 && buffer.starts_with(ABORT) => {
                reset(&connection)?;
                return Ok("aborted".into());
            }
            Ok(count) => total += count,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok("reset".into()),
            Err(error) => return Err(error.into()),
        }
    }
}

impl Client {
    pub(crate) fn run(&self) -> Result<()> {
        let mut connection = TcpStream::connect(&self.to)?;
        connection.set_read_timeout(Some(Duration::from_secs(20)))?;
        if self.end == End::ServerReset {
            connection.write_all(ABORT)?;
        } else {
            connection.write_all(&vec![b'x'; self.bytes])?;
        }
        match self.end {
            End::HalfClose => connection.shutdown(Shutdown::Write)?,
            End::Reset => {
                // Let the bytes arrive first: a reset may overtake them.
                std::thread::sleep(Duration::from_millis(300));
                reset(&connection)?;
                println!("{}", json!({"sent": self.bytes}));
                return Ok(());
            }
            End::ServerReset => {}
        }
        let mut reply = String::new();
        let error = connection.read_to_string(&mut reply).err().map(|error| format!("{:?}", error.kind()));
        println!("{}", json!({"reply": reply.trim(), "error": error}));
        Ok(())
    }
}

/// Makes the close that follows an RST (SO_LINGER 0).
fn reset(connection: &TcpStream) -> Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(connection, nix::sys::socket::sockopt::Linger, &linger)?;
    Ok(())
}
