//! Conditions on texts, and regular expressions as RE2 has them.

use std::fmt;
use std::iter::Peekable;
use std::str::Chars;
use std::sync::Arc;

use regex::bytes::{Captures, Regex, RegexBuilder};

use super::model::TextMatch;

/// Bytes of a compiled expression; RE2 in Envoy gives up at about as much.
const SIZE: usize = 512 << 10;

/// An expression that has to match the whole text. Matching is linear in the text, whatever the expression.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Arc<str>,
    regex: Regex,
}

impl Pattern {
    /// Of RE2 syntax. The error is for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let translated = translate(text)?;
        let regex = build(text, &format!(r"\A(?:{translated})\z"))?;
        Ok(Self { text: text.into(), regex })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it matches the whole text.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// What every match begins with.
    pub(super) fn literal_prefix(&self) -> &str {
        const META: &[char] = &['\\', '.', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$'];
        if self.text.contains('|') || self.text.starts_with("(?") {
            return "";
        }
        let end = self.text.find(META).unwrap_or(self.text.len());
        let literal = &self.text[..end];
        // A repetition speaks for the character before it.
        if self.text[end..].starts_with(['*', '?', '{', '+'])
            && let Some((last, _)) = literal.char_indices().next_back()
        {
            return &literal[..last];
        }
        literal
    }
}

fn build(written: &str, translated: &str) -> Result<Regex, String> {
    let ascii = RegexBuilder::new(translated).unicode(false).size_limit(SIZE).dfa_size_limit(SIZE).build();
    // Classes such as \pL and characters beyond ASCII in brackets need Unicode; all else is cheaper, and RE2's, without.
    let regex = ascii.or_else(|_ascii| {
        RegexBuilder::new(translated).unicode(true).size_limit(SIZE).dfa_size_limit(SIZE).build()
    });
    regex.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            format!("the regular expression {written:?} is too large when compiled")
        }
        error => {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("the regular expression {written:?} is not valid: {reason}")
        }
    })
}

/// Checks what wrapping in a group would hide, and writes out what RE2 reads otherwise: `\Q…\E`, and brackets in brackets.
fn translate(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let (mut depth, mut quoted) = (0_usize, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted && chars.next_if_eq(&'E').is_some() => quoted = false,
            c if quoted => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
            '\\' if chars.next_if_eq(&'Q').is_some() => quoted = true,
            '\\' => {
                out.push(c);
                out.extend(chars.next());
            }
            '[' => class(&mut chars, &mut out),
            _ => {
                match c {
                    '(' => depth += 1,
                    ')' if depth == 0 => {
                        return Err(format!("the regular expression {text:?} is not valid: unopened group"));
                    }
                    ')' => depth -= 1,
                    _ => (),
                }
                out.push(c);
            }
        }
    }
    Ok(out)
}

/// A class in brackets, behind its opening one: sets within sets are not RE2's.
fn class(chars: &mut Peekable<Chars<'_>>, out: &mut String) {
    out.push('[');
    out.extend(chars.next_if_eq(&'^'));
    if chars.next_if_eq(&']').is_some() {
        out.push_str(r"\]");
    }
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                out.push(c);
                out.extend(chars.next());
            }
            '[' if chars.peek() == Some(&':') => {
                out.push(c);
                for c in chars.by_ref() {
                    out.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            '[' | '&' | '~' => {
                out.push('\\');
                out.push(c);
            }
            c => {
                out.push(c);
                if c == ']' {
                    return;
                }
            }
        }
    }
}

/// An expression whose every match in a text is replaced.
#[derive(Clone, Debug)]
pub(super) struct Substitution {
    regex: Regex,
    parts: Box<[Part]>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Group(usize),
}

impl Substitution {
    /// RE2's: `\0` to `\9` are groups, `\\` is a backslash.
    pub(super) fn parse(pattern: &str, substitution: &str) -> Result<Self, String> {
        let regex = build(pattern, &translate(pattern)?)?;
        let mut parts = vec![Part::Text(String::new())];
        let mut chars = substitution.chars();
        while let Some(c) = chars.next() {
            let c = match c {
                '\\' => match chars.next() {
                    Some(digit @ '0'..='9') => {
                        let group = digit.to_digit(10).unwrap_or(0) as usize;
                        if group >= regex.captures_len() {
                            return Err(format!(
                                "{substitution:?} names group {group}, which {pattern:?} has not"
                            ));
                        }
                        parts.push(Part::Group(group));
                        continue;
                    }
                    Some('\\') => '\\',
                    _ => {
                        return Err(format!(
                            r"{substitution:?}: a backslash must be followed by a digit or by \"
                        ));
                    }
                },
                c => c,
            };
            match parts.last_mut() {
                Some(Part::Text(text)) => text.push(c),
                _ => parts.push(Part::Text(c.into())),
            }
        }
        Ok(Self { regex, parts: parts.into() })
    }

    /// Replaces every match.
    pub(super) fn apply(&self, text: &str) -> String {
        let replaced = self.regex.replace_all(text.as_bytes(), |captures: &Captures<'_>| {
            let mut out = Vec::new();
            for part in &self.parts {
                match part {
                    Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                    Part::Group(group) => {
                        out.extend_from_slice(captures.get(*group).map_or(&[], |group| group.as_bytes()));
                    }
                }
            }
            out
        });
        String::from_utf8_lossy(&replaced).into_owned()
    }
}

/// A condition on a text, ready for use.
#[derive(Clone, Debug)]
pub enum Text {
    /// The whole text.
    Exact(Box<str>),
    /// The first bytes.
    Prefix(Box<str>),
    /// The whole text.
    Regex(Pattern),
    /// It is there.
    Present,
}

impl Text {
    /// Istio takes the expression `*`, which is none, for "it is there".
    pub fn compile(text: &TextMatch) -> Result<Self, String> {
        Ok(match text {
            TextMatch::Exact(text) => Self::Exact(text.as_str().into()),
            TextMatch::Prefix(text) => Self::Prefix(text.as_str().into()),
            TextMatch::Regex(text) if text == "*" => Self::Present,
            TextMatch::Regex(text) => Self::Regex(Pattern::parse(text)?),
            TextMatch::Present => Self::Present,
        })
    }

    /// Whether it holds of a text that is there.
    pub fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(want) => text == want.as_bytes(),
            Self::Prefix(want) => text.starts_with(want.as_bytes()),
            Self::Regex(want) => want.matches(text),
            Self::Present => true,
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => write!(f, "exact {text:?}"),
            Self::Prefix(text) => write!(f, "prefix {text:?}"),
            Self::Regex(pattern) => write!(f, "regex {:?}", pattern.text()),
            Self::Present => f.write_str("present"),
        }
    }
}

#[cfg(test)]
mod tests;
