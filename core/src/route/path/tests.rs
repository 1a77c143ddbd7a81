//! Paths and their one form.

use super::Normalization::{Base, DecodeAndMergeSlashes, MergeSlashes, None as Nothing};
use super::*;

fn canonical(raw: &str, how: Normalization) -> String {
    match CanonicalPath::parse(raw, how) {
        Ok(path) => path.path_and_query().as_str().to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

#[test]
fn each_step_does_what_istio_says_of_its_name() {
    let cases = [
        // (as it came, NONE, BASE, MERGE_SLASHES, DECODE_AND_MERGE_SLASHES)
        ("/", "/", "/", "/", "/"),
        ("/a//b", "/a//b", "/a//b", "/a/b", "/a/b"),
        ("/a%2fb", "/a%2fb", "/a%2Fb", "/a%2Fb", "/a/b"),
        ("/a%5Cb", "/a%5Cb", "/a%5Cb", "/a%5Cb", "/a/b"),
        ("/a/../b", "/a/../b", "/b", "/b", "/b"),
        ("/a%2F..%2fb", "/a%2F..%2fb", "/a%2F..%2Fb", "/a%2F..%2Fb", "/b"),
        ("/%61%2Dz", "/%61%2Dz", "/a-z", "/a-z", "/a-z"),
        ("/%2e%2E/%2e/x", "/%2e%2E/%2e/x", "/x", "/x", "/x"),
        ("/a//../b", "/a//../b", "/a/b", "/a/b", "/a/b"),
        ("/a/.", "/a/.", "/a/", "/a/", "/a/"),
        ("/a/b/..", "/a/b/..", "/a/", "/a/", "/a/"),
        ("/../..", "/../..", "/", "/", "/"),
        ("//", "//", "//", "/", "/"),
        ("/a;x=1/b;y", "/a;x=1/b;y", "/a;x=1/b;y", "/a;x=1/b;y", "/a;x=1/b;y"),
        ("/a?b=/../%61//", "/a?b=/../%61//", "/a?b=/../%61//", "/a?b=/../%61//", "/a?b=/../%61//"),
        ("/%7euser/{id}", "/%7euser/{id}", "/~user/%7Bid%7D", "/~user/%7Bid%7D", "/~user/%7Bid%7D"),
        ("/é", "/é", "/%C3%A9", "/%C3%A9", "/%C3%A9"),
        ("/%252f", "/%252f", "/%252f", "/%252f", "/%252f"),
        ("/.well-known/x", "/.well-known/x", "/.well-known/x", "/.well-known/x", "/.well-known/x"),
        ("/a...b/..c", "/a...b/..c", "/a...b/..c", "/a...b/..c", "/a...b/..c"),
        ("*", "*", "*", "*", "*"),
    ];
    for (raw, none, base, merged, decoded) in cases {
        let got = [Nothing, Base, MergeSlashes, DecodeAndMergeSlashes].map(|how| canonical(raw, how));
        assert_eq!(got, [none, base, merged, decoded], "{raw}");
    }
}

#[test]
fn a_backslash_is_a_slash() {
    assert_eq!(canonical(r"/a\..\b", Base), "/b");
    assert_eq!(canonical(r"/a\\b", DecodeAndMergeSlashes), "/a/b");
}

#[test]
fn what_has_no_one_form_is_refused() {
    for (raw, error) in [
        ("", "Relative"),
        ("a", "Relative"),
        ("http://a/b", "Relative"),
        ("/%", "Escape"),
        ("/%4", "Escape"),
        ("/%g0", "Escape"),
        ("/a%00b", "Escape"),
        ("/%%32%66", "Escape"),
        ("/a b", "Character"),
        ("/a#b", "Character"),
        ("/a?b#c", "Character"),
        ("/a\r\nb", "Character"),
        ("/a\0", "Character"),
        ("/a?b\u{7f}", "Character"),
    ] {
        assert_eq!(canonical(raw, DecodeAndMergeSlashes), error, "{raw:?}");
    }
    assert_eq!(canonical(&format!("/{}", "a".repeat(65_534)), Base), "Length");
    assert_eq!(canonical(&format!("/{}", "é".repeat(30_000)), Base), "Character");
}

#[test]
fn every_form_of_a_request_target_has_a_path() {
    for (target, path) in [
        ("http://reviews/a//b", "/a/b"),
        ("http://reviews", "/"),
        ("/a", "/a"),
        ("*", "*"),
        ("reviews:80", "/"),
    ] {
        let uri: Uri = target.parse().expect("a target");
        assert_eq!(CanonicalPath::of(&uri, DecodeAndMergeSlashes).expect("a path").path(), path);
    }
}

#[test]
fn what_is_canonical_already_is_not_copied() {
    let uri: Uri = "/some/canonical/path?q".parse().expect("a target");
    let path = CanonicalPath::of(&uri, DecodeAndMergeSlashes).expect("a path");
    assert_eq!(path.path().as_ptr(), uri.path().as_ptr());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(20_000))]

    #[test]
    fn what_is_canonical_stays_as_it_is(raw in r"/([/.%\\;a{é]|%2[efEF5]|%5[cC]|%00|%[46]1|\.\.){0,12}(\?.{0,4})?") {
        for how in [Nothing, Base, MergeSlashes, DecodeAndMergeSlashes] {
            if let Ok(once) = CanonicalPath::parse(&raw, how) {
                let text = once.path_and_query().as_str();
                let twice = CanonicalPath::parse(text, how);
                proptest::prop_assert_eq!(twice.as_ref(), Ok(&once), "{} under {:?}", raw, how);
                if how == DecodeAndMergeSlashes {
                    let path = once.path();
                    proptest::prop_assert!(!path.contains("//") && !path.contains('\\') && path.is_ascii(), "{}", path);
                    let lower = path.to_ascii_lowercase();
                    proptest::prop_assert!(!lower.contains("%2f") && !lower.contains("%5c") && !lower.contains("%2e"));
                    proptest::prop_assert!(path.split('/').all(|part| part != "." && part != ".."), "{}", path);
                }
            }
        }
    }
}
