//! The canonical path: made once, then matched, judged and forwarded.
//!
//! The steps are those of Envoy under Istio's `pathNormalization`: escaped slashes become slashes, RFC 3986 (6.2.2) is
//! applied, adjacent slashes are merged. What is canonical stays as it is, so that both ends of a tunnel agree.

use http::uri::{PathAndQuery, Uri};

/// `MeshConfig.pathNormalization.normalization`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Normalization {
    /// `NONE`: as it came.
    None,
    /// `BASE`: dot segments resolved, escapes of unreserved characters decoded, backslashes are slashes.
    Base,
    /// `MERGE_SLASHES`: also, adjacent slashes are one.
    MergeSlashes,
    /// `DECODE_AND_MERGE_SLASHES`: also, `%2F` and `%5C` are slashes. The default.
    #[default]
    DecodeAndMergeSlashes,
}

impl Normalization {
    /// From the mesh config; what is not known is the strictest.
    pub fn from_config(text: Option<&str>) -> Self {
        match text {
            Some("NONE") => Self::None,
            Some("BASE" | "DEFAULT") => Self::Base,
            Some("MERGE_SLASHES") => Self::MergeSlashes,
            _ => Self::DecodeAndMergeSlashes,
        }
    }

    fn merges(self) -> bool {
        matches!(self, Self::MergeSlashes | Self::DecodeAndMergeSlashes)
    }
}

/// Why a path is refused: the request is answered 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// It does not begin with a slash.
    #[error("the path does not begin with a slash")]
    Relative,
    /// `%` without two hexadecimal digits, or an escaped NUL.
    #[error("the path has an invalid escape")]
    Escape,
    /// A control character, a space or a fragment.
    #[error("the path has a character that it may not have")]
    Character,
    /// More than 65,534 bytes.
    #[error("the path is too long")]
    Length,
}

/// Path and query in their one form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalPath(PathAndQuery);

impl CanonicalPath {
    /// Of a path with its query as it came (`/a%2fb?c`, or `*`). The query stays as it is.
    pub fn parse(raw: &str, how: Normalization) -> Result<Self, BadPath> {
        let canonical = check(raw, how)?;
        let text = if canonical { PathAndQuery::try_from(raw) } else { rewritten(raw, how)?.try_into() };
        text.map(Self).map_err(|_invalid| BadPath::Character)
    }

    /// Of a parsed request target in any of its forms; that of a CONNECT without a path is `/`. Copies nothing where the
    /// path is canonical already.
    pub fn of(uri: &Uri, how: Normalization) -> Result<Self, BadPath> {
        let Some(target) = uri.path_and_query() else { return Self::parse("/", how) };
        if check(target.as_str(), how)? {
            Ok(Self(target.clone()))
        } else {
            Self::parse(target.as_str(), how)
        }
    }

    /// Without the query.
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// Behind the question mark.
    pub fn query(&self) -> Option<&str> {
        self.0.query()
    }

    /// Both, to be sent on; a clone of it copies nothing.
    pub fn path_and_query(&self) -> &PathAndQuery {
        &self.0
    }
}

/// Refuses what cannot be made canonical; true: it is canonical already.
fn check(raw: &str, how: Normalization) -> Result<bool, BadPath> {
    if raw == "*" {
        return Ok(true);
    }
    if !raw.starts_with('/') {
        return Err(BadPath::Relative);
    }
    if raw.len() >= usize::from(u16::MAX) {
        return Err(BadPath::Length);
    }
    if raw.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'#') {
        return Err(BadPath::Character);
    }
    if how == Normalization::None {
        return Ok(true);
    }
    let path = split(raw).0.as_bytes();
    let mut canonical = true;
    for (at, byte) in path.iter().enumerate() {
        match byte {
            b'%' => {
                let value = escaped(path, at).filter(|value| *value != 0).ok_or(BadPath::Escape)?;
                let digits = &path[at + 1..at + 3];
                canonical &= !unreserved(value) && !digits.iter().any(u8::is_ascii_lowercase);
                canonical &= !(how == Normalization::DecodeAndMergeSlashes && matches!(value, b'/' | b'\\'));
            }
            b'/' => match path.get(at + 1) {
                Some(b'/') => canonical &= !how.merges(),
                Some(b'.') => canonical = false,
                _ => (),
            },
            byte if needs_escape(*byte) => canonical = false,
            _ => (),
        }
    }
    Ok(canonical)
}

/// Path, and query with its question mark.
fn split(raw: &str) -> (&str, &str) {
    raw.split_at(raw.find('?').unwrap_or(raw.len()))
}

/// The canonical form of what [`check`] has let pass.
fn rewritten(raw: &str, how: Normalization) -> Result<String, BadPath> {
    let (path, query) = split(raw);
    let decoded = decode(path.as_bytes(), how)?;
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = decoded.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    segments.pop();
                }
                if last {
                    segments.push("");
                }
            }
            _ => segments.push(part),
        }
    }
    let trailing = segments.last() == Some(&"");
    if how.merges() {
        segments.retain(|segment| !segment.is_empty());
        if trailing {
            segments.push("");
        }
    }
    let mut text = String::with_capacity(raw.len());
    for segment in &segments {
        text.push('/');
        text.push_str(segment);
    }
    if segments.is_empty() {
        text.push('/');
    }
    text.push_str(query);
    Ok(text)
}

/// Decodes what may be decoded, escapes what must be escaped; ASCII afterwards.
fn decode(path: &[u8], how: Normalization) -> Result<String, BadPath> {
    let mut text = String::with_capacity(path.len());
    let mut at = 0;
    while let Some(byte) = path.get(at).copied() {
        at += 1;
        match byte {
            b'%' => {
                let value = escaped(path, at - 1).ok_or(BadPath::Escape)?;
                at += 2;
                match value {
                    b'/' | b'\\' if how == Normalization::DecodeAndMergeSlashes => text.push('/'),
                    value if unreserved(value) => text.push(char::from(value)),
                    value => push_escape(&mut text, value),
                }
            }
            b'\\' => text.push('/'),
            byte if needs_escape(byte) => push_escape(&mut text, byte),
            byte => text.push(char::from(byte)),
        }
    }
    Ok(text)
}

/// The value of the escape whose `%` stands here.
fn escaped(path: &[u8], at: usize) -> Option<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let value = digit(path.get(at + 1)?)? * 16 + digit(path.get(at + 2)?)?;
    u8::try_from(value).ok()
}

fn push_escape(text: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.push('%');
    text.push(char::from(DIGITS[usize::from(byte >> 4)]));
    text.push(char::from(DIGITS[usize::from(byte & 15)]));
}

fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What a path may not have as it is, and the backslash.
pub(super) fn needs_escape(byte: u8) -> bool {
    !byte.is_ascii_graphic() || matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
}

/// A path and query out of what a rule makes: what may not stand in a path is escaped, and a slash leads.
pub(super) fn assemble(path: &str, query: Option<&str>) -> Option<PathAndQuery> {
    let mut text = String::with_capacity(path.len() + query.map_or(0, str::len) + 2);
    if !path.starts_with('/') {
        text.push('/');
    }
    let (path, own_query) = split(path);
    for byte in path.bytes() {
        if needs_escape(byte) || byte == b'#' {
            push_escape(&mut text, byte);
        } else {
            text.push(char::from(byte));
        }
    }
    match (own_query, query) {
        ("", Some(query)) => {
            text.push('?');
            text.push_str(query);
        }
        (own, _) => text.push_str(own),
    }
    PathAndQuery::try_from(text).ok()
}

#[cfg(test)]
mod tests;
