//! The keys of ConfigMaps and Secrets.

use super::look::Look;
use crate::diagnostic::Problem;

pub(super) fn check(root: &Look<'_>, fields: &[&'static str], problems: &mut Vec<Problem>) {
    for field in fields {
        for entry in root.get(field).fields() {
            if !is_key(entry.key()) {
                let message = format!(
                    "{:?} is no key: write at most 253 of letters, digits, '-', '_' and '.'",
                    entry.key()
                );
                problems.push(entry.wrong(message));
            }
        }
    }
}

fn is_key(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(inside)
        && text != "."
        && !text.starts_with("..")
}
