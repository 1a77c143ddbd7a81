//! Expressions as RE2 reads them.

use super::*;

fn matches(pattern: &str, text: &str) -> bool {
    Pattern::parse(pattern).expect(pattern).matches(text.as_bytes())
}

#[test]
fn the_whole_text_has_to_match() {
    assert!(matches("a|ab", "ab"));
    assert!(!matches("a", "ab"));
    assert!(!matches("^a$", "a\n"));
    assert!(matches(".*", ""));
}

#[test]
fn what_only_re2_knows_is_read_as_re2_reads_it() {
    assert!(matches(r"\Qa.b\E+", "a.bb"));
    assert!(!matches(r"\Qa.b\E", "axb"));
    assert!(matches("[[:alpha:])]+", "a)"));
    assert!(matches("[a&&b]", "&"));
    assert!(matches("[[a]", "["));
    assert!(matches("[]a]+", "]a"));
    assert!(!matches(r"\d", "٣"), "RE2's classes are ASCII");
    assert!(matches(r"\pL", "é"));
    assert!(matches("[é]", "é"));
}

#[test]
fn what_is_no_expression_says_why() {
    for (pattern, reason) in [
        ("a)(b", "unopened group"),
        ("(", "unclosed group"),
        ("[", "unclosed character class"),
        ("(?=a)", "look-around"),
        ("*a", "missing expression"),
    ] {
        let error = Pattern::parse(pattern).expect_err(pattern);
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn every_match_begins_with_the_literal_prefix() {
    for (pattern, literal) in [
        ("/api/v[0-9]+", "/api/v"),
        ("/ab*", "/a"),
        ("/ab{2}", "/a"),
        ("/a|/b", ""),
        ("(?i)/a", ""),
        (r"/a\.b", "/a"),
        ("/api", "/api"),
        ("/é?", "/"),
    ] {
        assert_eq!(Pattern::parse(pattern).expect("valid").literal_prefix(), literal, "{pattern}");
    }
}

#[test]
fn substitutions_are_re2s() {
    let apply = |pattern, by, text| Substitution::parse(pattern, by).map(|new| new.apply(text));
    assert_eq!(
        apply("^/service/([^/]+)(/.*)$", r"\2/instance/\1", "/service/foo/v1/api"),
        Ok("/v1/api/instance/foo".into())
    );
    assert_eq!(apply("one", "two", "/xxx/one/yyy/one/zzz"), Ok("/xxx/two/yyy/two/zzz".into()));
    assert_eq!(apply("(a)|b", r"[\1]", "ab"), Ok("[a][]".into()));
    assert_eq!(apply("a", r"\0\0\\", "a"), Ok(r"aa\".into()));
    assert!(apply("a", r"\1", "a").is_err_and(|error| error.contains("group 1")));
    assert!(apply("a", r"\x", "a").is_err_and(|error| error.contains("backslash")));
}
