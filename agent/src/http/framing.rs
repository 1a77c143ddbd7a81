//! Where HTTP/1 requests begin and end, strictly: what two parsers could read differently is refused.
//!
//! Hyper parses; this watches the bytes on their way to it, because hyper is lenient where RFC 9112 lets a server be:
//! a bare LF ends a line, `Content-Length` beside `Transfer-Encoding` is dropped, a repeated `Content-Length` that agrees is
//! merged. Envoy refuses these with 400, and so does this.

use std::cell::RefCell;
use std::task::{Context, Poll, Waker};

/// One line of a head, at most; hyper has its own bound for the whole.
const MAX_LINE: usize = 64 * 1024;
/// The line of a chunk's size, with its extensions.
const MAX_CHUNK_LINE: usize = 1024;

/// The requests of one connection.
#[derive(Debug, Default)]
pub struct Framing {
    scanner: RefCell<Scanner>,
    waker: RefCell<Option<Waker>>,
}

impl Framing {
    /// How many of these bytes may go on. Fewer than all: the rest is broken, or waits for an answer to an upgrade.
    pub fn inspect(&self, bytes: &[u8]) -> usize {
        self.scanner.borrow_mut().inspect(bytes)
    }

    /// Whether something came that is no request.
    pub fn is_broken(&self) -> bool {
        self.scanner.borrow().at == At::Broken
    }

    /// Whether a head has begun and not ended.
    pub fn within_head(&self) -> bool {
        let scanner = self.scanner.borrow();
        matches!(scanner.at, At::Head) || (scanner.at == At::Between && !scanner.line.is_empty())
    }

    /// Whether the next protocol has the connection now.
    pub fn has_switched(&self) -> bool {
        self.scanner.borrow().at == At::Switched
    }

    /// The upgrade was answered: another protocol follows, or requests do.
    pub fn answer(&self, switched: bool) {
        let mut scanner = self.scanner.borrow_mut();
        if scanner.at == At::Upgrade {
            scanner.at = if switched { At::Switched } else { At::Between };
        }
        drop(scanner);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits while an upgrade is undecided; true after something broken, when nothing more is read.
    pub(super) fn poll_open(&self, cx: &mut Context<'_>) -> Poll<bool> {
        match self.scanner.borrow().at {
            At::Upgrade | At::Switched => {
                *self.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
            At::Broken => Poll::Ready(true),
            _ => Poll::Ready(false),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Before a request line.
    #[default]
    Between,
    /// In the header lines.
    Head,
    /// So many bytes of a body.
    Body(u64),
    ChunkSize,
    ChunkData(u64),
    /// The line break behind a chunk: so many bytes of it have passed.
    ChunkEnd(u8),
    Trailers,
    /// Behind a request that asks for another protocol.
    Upgrade,
    /// Behind the answer that agreed to it.
    Switched,
    Broken,
}

/// What the head says so far.
#[derive(Debug, Default)]
struct Head {
    old: bool,
    connect: bool,
    host: bool,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

#[derive(Debug, Default)]
struct Scanner {
    at: At,
    head: Head,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
}

#[derive(Debug)]
struct Bad;

impl Scanner {
    fn inspect(&mut self, bytes: &[u8]) -> usize {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            if matches!(self.at, At::Upgrade | At::Switched | At::Broken) {
                return done;
            }
            match self.step(rest) {
                Ok(passed) => done += passed,
                Err(Bad) => self.at = At::Broken,
            }
        }
        done
    }

    fn step(&mut self, rest: &[u8]) -> Result<usize, Bad> {
        match self.at {
            At::Between | At::Head | At::ChunkSize | At::Trailers => self.step_line(rest),
            At::Body(left) => Ok(self.skip(rest, left, At::Body, At::Between)),
            At::ChunkData(left) => Ok(self.skip(rest, left, At::ChunkData, At::ChunkEnd(0))),
            At::ChunkEnd(passed) => {
                let wanted = if passed == 0 { b'\r' } else { b'\n' };
                if rest.first() != Some(&wanted) {
                    return Err(Bad);
                }
                self.at = if passed == 0 { At::ChunkEnd(1) } else { At::ChunkSize };
                Ok(1)
            }
            At::Upgrade | At::Switched | At::Broken => Err(Bad),
        }
    }

    fn skip(&mut self, rest: &[u8], left: u64, more: fn(u64) -> At, then: At) -> usize {
        let passed = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        let left = left - passed as u64;
        self.at = if left == 0 { then } else { more(left) };
        passed
    }

    fn step_line(&mut self, rest: &[u8]) -> Result<usize, Bad> {
        let most = if self.at == At::ChunkSize { MAX_CHUNK_LINE } else { MAX_LINE };
        let Some(end) = memchr(rest) else {
            self.line.extend_from_slice(rest);
            // What is wrong already need not wait for the end of its line.
            let carriage = self.line.iter().position(|byte| *byte == b'\r');
            let stray = carriage.is_some_and(|at| at + 1 != self.line.len());
            return if self.line.len() > most || stray { Err(Bad) } else { Ok(rest.len()) };
        };
        let (this, passed) = (rest.get(..end).unwrap_or_default(), end + 1);
        if self.line.is_empty() {
            self.whole_line(this.strip_suffix(b"\r").ok_or(Bad)?, most)?;
            return Ok(passed);
        }
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(this);
        self.whole_line(line.strip_suffix(b"\r").ok_or(Bad)?, most)?;
        line.clear();
        self.line = line;
        Ok(passed)
    }

    fn whole_line(&mut self, line: &[u8], most: usize) -> Result<(), Bad> {
        if line.len() > most {
            return Err(Bad);
        }
        match self.at {
            // RFC 9112 section 2.2: an empty line before the request line is ignored.
            At::Between if line.is_empty() => {}
            At::Between => {
                self.head = request_line(line)?;
                self.at = At::Head;
            }
            At::Head if line.is_empty() => self.at = self.head.end()?,
            At::Head => self.head.line(line)?,
            At::ChunkSize => {
                self.at = match chunk_size(line)? {
                    0 => At::Trailers,
                    size => At::ChunkData(size),
                };
            }
            At::Trailers if line.is_empty() => self.at = At::Between,
            At::Trailers => drop(name_and_value(line)?),
            _ => return Err(Bad),
        }
        Ok(())
    }
}

fn memchr(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}

/// `METHOD SP target SP HTTP/1.x`.
fn request_line(line: &[u8]) -> Result<Head, Bad> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (method, target, version) =
        (parts.next().ok_or(Bad)?, parts.next().ok_or(Bad)?, parts.next().ok_or(Bad)?);
    if parts.next().is_some() || method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return Err(Bad);
    }
    if target.is_empty() || !target.iter().all(|byte| (0x21..0x7f).contains(byte)) {
        return Err(Bad);
    }
    let old = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ => return Err(Bad),
    };
    Ok(Head { old, connect: method == b"CONNECT", ..Head::default() })
}

/// RFC 9112 section 5: no blank before the colon, no folded line.
fn name_and_value(line: &[u8]) -> Result<(&[u8], &[u8]), Bad> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(Bad)?;
    let (name, value) = line.split_at(colon);
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        return Err(Bad);
    }
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    if value.iter().any(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f) {
        return Err(Bad);
    }
    Ok((name, value))
}

impl Head {
    #[allow(clippy::collapsible_match, reason = "a guard that changes the head would be a surprise")]
    fn line(&mut self, line: &[u8]) -> Result<(), Bad> {
        let (name, value) = name_and_value(line)?;
        // By length first: most headers are none of these.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                if std::mem::replace(&mut self.host, true) {
                    return Err(Bad);
                }
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.upgrade = !value.eq_ignore_ascii_case(b"h2c");
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if self.length.replace(number(value, 10)?).is_some() {
                    return Err(Bad);
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                // Nothing else can be decoded here, and what cannot be decoded cannot be framed anew.
                if !value.eq_ignore_ascii_case(b"chunked") || std::mem::replace(&mut self.chunked, true) {
                    return Err(Bad);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&self) -> Result<At, Bad> {
        if (!self.old && !self.host) || (self.chunked && (self.old || self.length.is_some())) {
            return Err(Bad);
        }
        let has_body = self.chunked || self.length.is_some_and(|length| length > 0);
        if self.connect && has_body {
            return Err(Bad);
        }
        Ok(match (self.chunked, self.length.unwrap_or(0)) {
            (true, _) => At::ChunkSize,
            (false, 0) if self.connect || (self.upgrade && !self.old) => At::Upgrade,
            (false, 0) => At::Between,
            (false, length) => At::Body(length),
        })
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, Bad> {
    // In other lines these are refused with everything else that is not text.
    if line.iter().any(|byte| matches!(byte, b'\r' | 0)) {
        return Err(Bad);
    }
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    // A blank before the extensions is "bad whitespace" that servers read differently.
    number(digits, 16)
}

fn number(digits: &[u8], base: u32) -> Result<u64, Bad> {
    if digits.is_empty() || !digits.iter().all(|byte| char::from(*byte).is_digit(base)) {
        return Err(Bad);
    }
    let text = std::str::from_utf8(digits).map_err(|_not_text| Bad)?;
    u64::from_str_radix(text, base).map_err(|_too_much| Bad).and_then(|number| {
        // Hyper keeps the last values for itself.
        if number > u64::MAX / 2 { Err(Bad) } else { Ok(number) }
    })
}

/// RFC 9110 section 5.6.2, by byte.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let marks = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < 256 {
        table[at] = (at as u8).is_ascii_alphanumeric();
        at += 1;
    }
    let mut at = 0;
    while at < marks.len() {
        table[marks[at] as usize] = true;
        at += 1;
    }
    table
};

fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much passes, byte by byte and at once; and whether it broke.
    fn judge(text: &str) -> (usize, bool) {
        let whole = Framing::default();
        let passed = whole.inspect(text.as_bytes());
        let pieces = Framing::default();
        for byte in text.as_bytes() {
            pieces.inspect(&[*byte]);
        }
        assert_eq!(whole.is_broken(), pieces.is_broken(), "{text:?}");
        (passed, whole.is_broken())
    }

    #[test]
    fn well_framed_requests_pass_in_a_row() {
        let text = "GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST /x HTTP/1.1\r\nhost: a\r\nContent-Length: 3\r\n\r\nabc\
                    POST / HTTP/1.1\r\nHOST:a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n\
                    0\r\nx: y\r\n\r\nGET / HTTP/1.0\r\n\r\n\r\nOPTIONS * HTTP/1.1\r\nhost:\r\n\r\n";
        assert_eq!(judge(text), (text.len(), false));
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        let bad = [
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
            "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\nabc\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
            "\x16\x03\x01\x02\x00\n",
        ];
        for text in bad {
            assert!(judge(text).1, "{text:?}");
        }
    }

    #[test]
    fn what_follows_an_upgrade_waits_for_the_answer() {
        let head = "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        let framing = Framing::default();
        assert_eq!(framing.inspect(format!("{head}\u{1}\u{2}").as_bytes()), head.len());
        assert!(!framing.is_broken());
        framing.answer(false);
        assert_eq!(framing.inspect(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), 27);
        let connect = "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n";
        assert_eq!(judge(&format!("{connect}\u{16}\u{3}")), (connect.len(), false));
    }
}
