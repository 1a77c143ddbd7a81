//! One question to an admin socket, without a runtime: what `heddle-agent admin` and `heddle-controller admin` do inside of a pod.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// For the whole of it.
const DEADLINE: Duration = Duration::from_secs(10);
/// 20,000 workloads print as some 10 MB.
const MOST: u64 = 256 << 20;

/// Why there is no answer.
#[derive(Debug)]
pub enum AdminError {
    /// Nobody listens, or not to us.
    Unreachable(String),
    /// What was asked is refused; the status line and the reason.
    Refused(String),
}

impl std::error::Error for AdminError {}

impl std::fmt::Display for AdminError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Unreachable(reason) | Self::Refused(reason)) = self;
        f.write_str(reason)
    }
}

/// Asks, with a question in JSON or without, and gives back the body of the answer.
///
/// # Errors
/// See [`AdminError`].
pub fn ask(socket: &Path, method: &str, path: &str, question: Option<&str>) -> Result<Vec<u8>, AdminError> {
    if !path.starts_with('/') || path.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(AdminError::Refused(format!("{path:?} is no path; write for example /status")));
    }
    let answer = exchange(socket, method, path, question.unwrap_or_default())
        .map_err(|error| AdminError::Unreachable(unreachable(socket, &error)))?;
    let broken = || AdminError::Unreachable(format!("{}: the answer is cut off", socket.display()));
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(broken)?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let (status, fields) = head.split_once("\r\n").unwrap_or((&head, ""));
    let body = answer.get(end + 4..).unwrap_or_default();
    let length = fields.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    if length.is_some_and(|length| length != body.len()) {
        return Err(broken());
    }
    match status.split(' ').nth(1) {
        Some("200") => Ok(body.to_vec()),
        _ => {
            let status = status.split_once(' ').map_or(status, |(_, status)| status);
            Err(AdminError::Refused(format!("{status}: {}", String::from_utf8_lossy(body).trim())))
        }
    }
}

/// HTTP/1.0: the answer ends with the connection, and comes in one piece.
fn exchange(socket: &Path, method: &str, path: &str, question: &str) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + DEADLINE;
    let mut stream = UnixStream::connect(socket)?;
    stream.set_write_timeout(Some(DEADLINE))?;
    let length = question.len();
    let head = format!("{method} {path} HTTP/1.0\r\nHost: admin\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(question.as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut piece) {
            Ok(0) => return Ok(answer),
            Ok(read) => answer.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if answer.len() as u64 > MOST {
            return Err(io::Error::other("the answer is too large"));
        }
    }
}

fn unreachable(socket: &Path, error: &io::Error) -> String {
    let socket = socket.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            format!("nobody serves {socket}: is it running, and is this its socket?")
        }
        io::ErrorKind::PermissionDenied => format!("{socket} is root's; use sudo"),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("{socket}: nothing within {DEADLINE:?}")
        }
        _ => format!("{socket}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::os::unix::net::UnixListener;

    /// What one server says to whatever it is asked.
    fn says(answer: &'static str, question: Option<&str>) -> (String, Result<Vec<u8>, AdminError>) {
        let folder = std::env::temp_dir().join(format!("heddle-admin-{:?}", std::thread::current().id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{}.sock", std::process::id()));
        let _left = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut read = vec![0; 4096];
            let mut heard = String::new();
            while !heard.ends_with("\r\n\r\n") && !heard.ends_with('}') {
                let count = stream.read(&mut read).unwrap();
                heard.push_str(&String::from_utf8_lossy(&read[..count]));
            }
            stream.write_all(answer.as_bytes()).unwrap();
            heard
        });
        let answer = ask(&path, if question.is_some() { "POST" } else { "GET" }, "/status?a=b", question);
        let heard = server.join().unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        (heard, answer)
    }

    #[test]
    fn the_body_is_given_back_and_what_is_refused_says_why() {
        let (heard, answer) = says("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}", Some("{\"a\": 1}"));
        assert!(heard.starts_with("POST /status?a=b HTTP/1.0\r\n") && heard.ends_with("\r\n\r\n{\"a\": 1}"));
        assert_eq!(answer.unwrap(), b"{}");
        let (_, answer) = says("HTTP/1.0 404 Not Found\r\nContent-Length: 5\r\n\r\nnope\n", None);
        assert_eq!(answer.unwrap_err().to_string(), "404 Not Found: nope");
        let (_, answer) = says("HTTP/1.0 200 OK\r\ncontent-length: 20\r\n\r\n{}", None);
        assert!(answer.unwrap_err().to_string().contains("cut off"));
    }

    #[test]
    fn a_socket_that_nobody_serves_and_a_path_that_is_none_are_said() {
        let error = ask(Path::new("/nowhere/heddle.sock"), "GET", "/status", None).unwrap_err();
        assert!(error.to_string().contains("nobody serves /nowhere/heddle.sock"), "{error}");
        for path in ["status", "/a b", "/a\r\nb"] {
            assert!(matches!(ask(Path::new("/x"), "GET", path, None), Err(AdminError::Refused(_))));
        }
    }
}
