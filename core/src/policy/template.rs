//! Path templates: `{*}` is one segment, `{**}` any number of them.
//!
//! Source: Istio's AuthorizationPolicy `paths`, which are Envoy's `uri_template_match` with `*` and `**` in braces.

/// How doubt is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// It does not match: wildcards stand for the characters of Envoy's templates only.
    Strict,
    /// It matches: wildcards stand for every character.
    Loose,
}

/// Whether the whole path matches. At most one `{**}` counts, as Envoy has it, and what follows must be the path's end, so
/// the cost is linear in the path for every wildcard.
pub(super) fn matches(template: &str, path: &str, reading: Reading) -> bool {
    match template.split_once("{**}") {
        // Another wildcard behind `{**}` is no template of Envoy's.
        Some((_, end)) if end.contains("{*}") || end.contains("{**}") => reading == Reading::Loose,
        Some((start, end)) => {
            let Some(rest) = segments(start, path, reading) else { return false };
            rest.strip_suffix(end)
                .is_some_and(|middle| middle.chars().all(|c| c == '/' || is_text(c, reading)))
        }
        None => segments(template, path, reading).is_some_and(str::is_empty),
    }
}

/// What is left of the path behind a template of literals and `{*}`. Behind `{*}` comes `/`, a suffix or the end.
fn segments<'p>(template: &str, path: &'p str, reading: Reading) -> Option<&'p str> {
    let mut pieces = template.split("{*}");
    let mut rest = path.strip_prefix(pieces.next()?)?;
    for piece in pieces {
        let end = rest.find('/').unwrap_or(rest.len());
        let segment = &rest[..end];
        // A suffix inside the segment, and what follows it.
        let (suffix, after) = piece.split_at(piece.find('/').unwrap_or(piece.len()));
        let middle = segment.strip_suffix(suffix)?;
        if middle.is_empty() || !middle.chars().all(|c| is_text(c, reading)) {
            return None;
        }
        rest = rest[end..].strip_prefix(after)?;
    }
    Some(rest)
}

fn is_text(c: char, reading: Reading) -> bool {
    reading == Reading::Loose || c.is_ascii_alphanumeric() || "-._~%!$&'()+,;:@".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_one_segment_or_for_many() {
        let rows = [
            ("/foo/{*}", "/foo/bar", true),
            ("/foo/{*}", "/foo/bar/baz", false),
            ("/foo/{*}", "/foo/", false),
            ("/foo/{*}", "/foo", false),
            ("/foo/{*}/", "/foo/bar/", true),
            ("/foo/{*}/", "/foo/bar", false),
            ("/foo/{*}/bar", "/foo/x/bar", true),
            ("/foo/{*}/bar", "/foo/x/y/bar", false),
            ("/{*}/{*}", "/a/b", true),
            ("/{*}/{*}", "/a/b/c", false),
            ("/foo/{**}", "/foo/bar/baz.txt", true),
            ("/foo/{**}", "/foo/", true),
            ("/foo/{**}", "/foo", false),
            ("/{*}/{**}", "/a/b/c", true),
            ("/{*}/{**}", "/a", false),
            ("/{**}/bar", "/a/b/bar", true),
            ("/{**}/bar", "/bar", false),
            ("/{**}", "/", true),
            ("/{*}.txt", "/a.txt", true),
            ("/{*}.txt", "/.txt", false),
            ("/{*}.txt", "/a/b.txt", false),
            ("/a/{**}.txt", "/a/b/c.txt", true),
            ("/a/{**}/{*}", "/a/b/c", false),
        ];
        for (template, path, wanted) in rows {
            assert_eq!(matches(template, path, Reading::Strict), wanted, "{template} {path}");
        }
    }

    #[test]
    fn an_unusual_character_is_settled_by_the_reading() {
        for path in ["/foo/a*b", "/foo/\u{e9}", "/foo/a=b", "/foo/a|b"] {
            assert!(!matches("/foo/{*}", path, Reading::Strict), "{path}");
            assert!(matches("/foo/{*}", path, Reading::Loose), "{path}");
        }
    }
}
