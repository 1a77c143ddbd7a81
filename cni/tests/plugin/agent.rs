//! Somebody at the agent's socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use heddle_cni::protocol::{Answer, Request};

/// Answers until the test ends.
pub(crate) struct Agent {
    asked: Receiver<Request>,
}

impl Agent {
    pub(crate) fn answering(socket: &Path, answer: impl Fn(&Request) -> Answer + Send + 'static) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let (tell, asked) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut line = String::new();
                if BufReader::new(&stream).read_line(&mut line).is_err() || line.is_empty() {
                    continue;
                }
                let request = serde_json::from_str(&line).unwrap();
                let answer = serde_json::to_string(&answer(&request)).unwrap();
                if tell.send(request).is_err() {
                    return;
                }
                let _ = writeln!(stream, "{answer}");
            }
        });
        Self { asked }
    }

    /// Says this and hangs up, or nothing and does not.
    pub(crate) fn saying(socket: &Path, text: Option<&'static str>) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let (tell, asked) = channel();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            match text {
                Some(text) => stream.write_all(text.as_bytes()).unwrap(),
                // Until the other side gives up.
                None => drop(stream.read(&mut [0; 1])),
            }
            drop(tell);
        });
        Self { asked }
    }

    pub(crate) fn asked(&self) -> Request {
        self.asked.recv_timeout(Duration::from_secs(20)).unwrap()
    }
}

/// Listens as user 65534 at a socket that is root's: what an agent's place would be if it were handed to somebody.
pub(crate) fn peer_of_nobody(socket: &Path) -> thread::JoinHandle<()> {
    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket as open,
    };
    use std::os::fd::AsRawFd;
    let fd = open(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(fd.as_raw_fd(), &UnixAddr::new(socket).unwrap()).unwrap();
    let (ready, listening) = channel();
    let handle = thread::spawn(move || {
        // By the bare call, for this thread alone; the socket's owner is the listener of this moment.
        // SAFETY: plain integers.
        assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) }, 0);
        listen(&fd, Backlog::new(4).unwrap()).unwrap();
        ready.send(()).unwrap();
        let _streams: Vec<_> = UnixListener::from(fd).incoming().collect();
    });
    listening.recv().unwrap();
    handle
}
