//! What a client speaks, by its first bytes.

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1: a method and a request target.
    Http1,
    /// HTTP/2 with prior knowledge: its preface.
    Http2,
    /// A TLS ClientHello.
    Tls,
    /// Something else.
    Other,
    /// It cannot be said yet.
    More,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longest method that is taken for one; `VERSION-CONTROL` is among the registered.
const METHOD: usize = 24;

/// Judges what has come so far.
pub fn sniff(bytes: &[u8]) -> Spoken {
    match bytes.first() {
        None => return Spoken::More,
        Some(0x16) => {
            return if bytes.get(1).is_none_or(|major| *major == 3) { Spoken::Tls } else { Spoken::Other };
        }
        Some(_) => {}
    }
    if bytes.len() >= PREFACE.len() && bytes.starts_with(PREFACE) {
        return Spoken::Http2;
    }
    if PREFACE.starts_with(bytes) {
        return Spoken::More;
    }
    let end = bytes.iter().position(|byte| !byte.is_ascii_uppercase() && *byte != b'-');
    match end {
        None if bytes.len() <= METHOD => Spoken::More,
        Some(end) if end > 0 && end <= METHOD && bytes.get(end) == Some(&b' ') => {
            request_line(bytes, end + 1)
        }
        _ => Spoken::Other,
    }
}

/// Behind the method: a target, then `HTTP/1.`.
fn request_line(bytes: &[u8], target: usize) -> Spoken {
    let rest = bytes.get(target..).unwrap_or_default();
    match rest.iter().position(|byte| *byte <= b' ') {
        // Whole targets may be long; what begins like one is one.
        None => match rest.first() {
            None => Spoken::More,
            Some(b'/' | b'*' | b'h') => {
                if rest.len() > 8 {
                    Spoken::Http1
                } else {
                    Spoken::More
                }
            }
            Some(_) => {
                if rest.len() > 255 {
                    Spoken::Other
                } else {
                    Spoken::More
                }
            }
        },
        Some(0) => Spoken::Other,
        Some(end) => {
            let version = rest.get(end..).unwrap_or_default();
            let wanted = b" HTTP/1.";
            if version.len() >= wanted.len() && version.starts_with(wanted) {
                Spoken::Http1
            } else if wanted.starts_with(version) {
                Spoken::More
            } else {
                Spoken::Other
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_say_what_is_spoken() {
        let cases: &[(&[u8], Spoken)] = &[
            (b"", Spoken::More),
            (b"G", Spoken::More),
            (b"GET / HTTP/1.1\r\n", Spoken::Http1),
            (b"GET / HTTP/1", Spoken::More),
            (b"CONNECT a:443 HTTP/1.1\r\n", Spoken::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Spoken::Http2),
            (b"PRI * HTTP/2.0\r\n", Spoken::More),
            (b"PRI * HTTP/2.0\r\n\r\nXX", Spoken::Other),
            (b"\x16\x03\x01", Spoken::Tls),
            (b"\x16", Spoken::Tls),
            (b"\x16\x00", Spoken::Other),
            (b"SSH-2.0-OpenSSH\r\n", Spoken::Other),
            (b"EHLO me\r\n", Spoken::Other),
            (b"get / HTTP/1.1", Spoken::Other),
            (b"*3\r\n$3\r\nSET", Spoken::Other),
            (b"\x00\x00\x00\x08", Spoken::Other),
        ];
        for (bytes, spoken) in cases {
            assert_eq!(sniff(bytes), *spoken, "{}", bytes.escape_ascii());
        }
    }
}
