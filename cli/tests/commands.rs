//! `heddle validate` from each kind of source, its exit codes, and what completions know.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const GOOD: &str = "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: 80}]}}";
const BAD: &str = "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {prots: []}}";
const WARNED: &str =
    "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: p}, spec: {}}";

fn heddle(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heddle"));
    let command = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that reads nothing may have ended already.
    let _ended = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Exit status and the array that is printed.
fn validated(arguments: &[&str], input: &str) -> (i32, Vec<serde_json::Value>) {
    let output = heddle(&[&["validate", "-o", "json"], arguments].concat(), input);
    let text = String::from_utf8(output.stdout).unwrap();
    (
        output.status.code().unwrap(),
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")),
    )
}

fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path: PathBuf = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let name = folder.path().display().to_string();
    (folder, name)
}

#[test]
fn valid_input_prints_an_empty_array_and_ends_with_0_from_a_file_a_directory_and_standard_input() {
    let (_folder, name) = folder(&[
        ("a.yaml", GOOD),
        ("b.json", r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"n"}}"#),
    ]);
    let file = Path::new(&name).join("a.yaml").display().to_string();
    assert_eq!(validated(&["-f", &file], ""), (0, vec![]));
    assert_eq!(validated(&["-f", &name], ""), (0, vec![]));
    assert_eq!(validated(&["-f", "-"], &format!("{GOOD}\n---\n{GOOD}")), (0, vec![]));
    let plain = heddle(&["validate", "-f", &name], "");
    assert_eq!(String::from_utf8_lossy(&plain.stdout).trim(), "2 objects valid, 0 errors, 0 warnings");
}

#[test]
fn a_wrong_field_ends_with_1_and_says_where_also_beside_good_ones() {
    let (code, found) = validated(&["-f", "-"], &format!("{GOOD}\n---\n{BAD}\n---\n{{a: [b"));
    assert_eq!(code, 1);
    assert_eq!((found[0]["file"].as_str(), found[0]["document"].as_u64()), (Some("-"), Some(1)));
    assert_eq!(found[0]["severity"], "error");
    assert!(found[0]["message"].as_str().unwrap().contains("ports"), "{found:?}");
    assert!(found.iter().any(|each| each["document"] == 2), "{found:?}");
    let (code, found) = validated(&["-f", "-"], WARNED);
    assert!(found.iter().all(|each| each["severity"] != "error"), "{found:?}");
    assert_eq!(code, 0);
}

#[test]
fn directories_below_are_read_only_when_asked_and_other_files_never() {
    let (_folder, name) =
        folder(&[("a.yaml", GOOD), ("below/b.yml", BAD), ("notes.txt", "not: [a manifest")]);
    assert_eq!(validated(&["-f", &name], "").0, 0);
    let (code, found) = validated(&["-R", "-f", &name], "");
    assert_eq!(code, 1);
    assert!(found.iter().all(|each| each["file"].as_str().unwrap().ends_with("below/b.yml")), "{found:?}");
}

#[test]
fn what_cannot_be_read_and_a_wrong_call_end_with_2() {
    let (_folder, empty) = folder(&[("notes.txt", "")]);
    for path in ["/nowhere/at/all.yaml", &empty] {
        let (code, found) = validated(&["-f", path], "");
        assert_eq!((code, found.len()), (2, 1), "{path}");
    }
    assert_eq!(heddle(&["validate"], "").status.code(), Some(2));
    assert_eq!(heddle(&["validate", "-f", "-", "-o", "xml"], "").status.code(), Some(2));
    assert_eq!(heddle(&["nonsense"], "").status.code(), Some(2));
}

#[test]
fn completions_of_each_shell_know_the_sandbox_verbs() {
    for shell in ["bash", "zsh", "fish"] {
        let output = heddle(&["completion", shell], "");
        let script = String::from_utf8(output.stdout).unwrap();
        for word in ["rollout", "scale", "apply", "all-namespaces", "validate", "config"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

/// As `validated`, of `analyze`.
fn analyzed(arguments: &[&str], input: &str) -> (i32, Vec<serde_json::Value>) {
    let output = heddle(&[&["analyze", "-o", "json"], arguments].concat(), input);
    let found = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{arguments:?}: {error}: {output:?}");
    });
    (output.status.code().unwrap(), found)
}

/// Code and severity of each finding, in order.
fn codes(found: &[serde_json::Value]) -> Vec<String> {
    let text = |each: &serde_json::Value, key: &str| each[key].as_str().unwrap_or_default().to_owned();
    found.iter().map(|each| format!("{} {}", text(each, "code"), text(each, "severity"))).collect()
}

const WEB: &str =
    "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{name: http, port: 80}]}}";

#[test]
fn analyze_reads_files_and_directories_as_one_world() {
    let speaks = "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: web}, spec: {hosts: [web], http: [{route: [{destination: {host: web}}]}]}}";
    let (_kept, both) = folder(&[("a.yaml", WEB), ("b.yaml", speaks)]);
    assert_eq!(analyzed(&["-f", &both], ""), (0, vec![]));
    let (code, found) = analyzed(&["-f", &format!("{both}/b.yaml")], "");
    assert_eq!((code, codes(&found)), (1, vec!["IST0101 error".to_owned()]), "{found:?}");
    assert_eq!(found[0]["path"], "spec.http[0].route[0].destination.host");
    for key in ["file", "document", "kind", "namespace", "name", "severity", "code", "path", "message"] {
        assert!(!found[0][key].is_null(), "{key}: {found:?}");
    }
    assert_eq!(analyzed(&["-f", &format!("{both}/a.yaml"), "-f", &format!("{both}/b.yaml")], "").0, 0);
    let plain = heddle(&["analyze", "-f", &both], "");
    assert_eq!(String::from_utf8_lossy(&plain.stdout).trim(), "2 objects valid, 0 errors, 0 warnings");
    for wrong in [&["analyze", "-f", "/nonexistent"][..], &["analyze", "-R"], &["analyze", "--what"]] {
        assert_eq!(heddle(wrong, "").status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn the_tutorial_is_right_and_what_it_means_is_told() {
    let tutorial = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/tutorial");
    let (code, found) = validated(&["-f", tutorial], "");
    assert!(code == 0 && found.iter().all(|each| each["severity"] != "error"), "{found:?}");
    // Together they lack one thing: the service that 13 speaks of is the reader's own.
    let (code, found) = analyzed(&["-f", tutorial], "");
    let errors: Vec<_> = found.iter().filter(|each| each["severity"] == "error").collect();
    assert_eq!((code, errors.len()), (1, 1), "{found:?}");
    assert!(errors[0]["message"].as_str().unwrap().contains("my-service"), "{errors:?}");
    let of = |name: &str| found.iter().any(|each| each["file"].as_str().unwrap_or_default().ends_with(name));
    assert!(of("13-virtualservice-fault.yaml"), "the canonical form is shown: {found:?}");
}

/// What is bad, the codes that name it, and how `analyze` ends.
#[test]
fn bad_input_of_every_kind_has_its_code() {
    let vs = |name: &str, spec: &str| {
        format!(
            "---\n{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: {name}}}, spec: {{{spec}}}}}\n"
        )
    };
    let to_web = "route: [{destination: {host: web}}]";
    let rows: Vec<(&str, String, i32, Vec<&str>)> = vec![
        (
            "conflicting",
            vs("a", &format!("hosts: [web], http: [{{{to_web}}}]"))
                + &vs("b", &format!("hosts: [web], http: [{{{to_web}}}]")),
            0,
            vec!["IST0109 warning", "IST0109 warning"],
        ),
        (
            "delegates in a circle",
            vs("a", "hosts: [web], http: [{delegate: {name: b}}]")
                + &vs("b", "http: [{delegate: {name: c}}]")
                + &vs("c", "http: [{delegate: {name: b}}]"),
            1,
            vec![],
        ),
        (
            "a delegate that is not there",
            vs("a", "hosts: [web], http: [{delegate: {name: b}}]"),
            1,
            vec!["IST0101 error"],
        ),
        (
            "empty",
            "---\n{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a}, spec: {}}"
                .into(),
            1,
            vec![],
        ),
        (
            "an expression that cannot be parsed",
            vs("a", &format!("hosts: [web], http: [{{match: [{{uri: {{regex: '(['}}}}], {to_web}}}]")),
            1,
            vec!["IST0122 error"],
        ),
        (
            "a catastrophic expression",
            vs(
                "a",
                &format!(
                    "hosts: [web], http: [{{match: [{{uri: {{regex: '(((a{{1000}}){{1000}}){{1000}})'}}}}], {to_web}}}]"
                ),
            ),
            1,
            vec!["IST0122 error"],
        ),
        (
            "an unknown host",
            vs("a", "hosts: [web], http: [{route: [{destination: {host: wep}}]}]"),
            1,
            vec!["IST0101 error"],
        ),
        (
            "weights that sum to 0",
            vs(
                "a",
                "hosts: [web], http: [{route: [{destination: {host: web}, weight: 0}, {destination: {host: web}, weight: 0}]}]",
            ),
            1,
            vec![],
        ),
        (
            "more than 100 percent",
            vs(
                "a",
                &format!(
                    "hosts: [web], http: [{{fault: {{abort: {{percentage: {{value: 101}}, httpStatus: 500}}}}, {to_web}}}]"
                ),
            ),
            1,
            vec![],
        ),
        (
            "a missing subset",
            vs("a", "hosts: [web], http: [{route: [{destination: {host: web, subset: v9}}]}]"),
            1,
            vec!["IST0101 error"],
        ),
    ];
    for (what, objects, code, wanted) in rows {
        let (ended, found) = analyzed(&["-f", "-"], &format!("{WEB}\n{objects}"));
        assert_eq!(ended, code, "{what}: {found:?}");
        assert!(!found.is_empty(), "{what}");
        if !wanted.is_empty() {
            assert_eq!(codes(&found), wanted, "{what}: {found:?}");
        }
        // The message names the object and where it is.
        assert!(
            found.iter().all(|each| each["message"].as_str().unwrap_or_default().len() > 10),
            "{found:?}"
        );
    }
}

#[test]
fn large_objects_are_read_in_time_and_those_over_the_bound_are_refused_by_size() {
    let rule = |number: usize| {
        format!("{{match: [{{uri: {{exact: /path/{number}}}}}], route: [{{destination: {{host: web}}}}]}}")
    };
    let rules: Vec<String> = (0..10_000).map(rule).collect();
    let many = format!(
        "{WEB}\n---\n{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: many}}, spec: {{hosts: [web], http: [{}]}}}}",
        rules.join(", ")
    );
    assert_eq!(analyzed(&["-f", "-"], &many).0, 0);
    let large = format!(
        "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: large}}, data: {{a: {}}}}}",
        "x".repeat(1 << 20)
    );
    assert_eq!(analyzed(&["-f", "-"], &large), (0, vec![]));
    let (code, found) = analyzed(&["-f", "-"], &"# a comment\n".repeat((16 << 20) / 10));
    assert!(code > 0 && found[0]["message"].as_str().unwrap().contains("16777216"), "{code} {found:?}");
}

#[test]
fn a_policy_that_is_not_served_is_said_to_deny_by_validate_and_analyze() {
    let policy = |metadata: &str, spec: &str| {
        format!(
            "{{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {{name: p{metadata}}}, spec: {{{spec}}}}}"
        )
    };
    for text in [
        policy(", annotations: {istio.io/dry-run: \"true\"}", "rules: [{}]"),
        policy("", "action: AUDIT, rules: [{}]"),
        policy("", "action: CUSTOM, provider: {name: x}, rules: [{}]"),
    ] {
        for (code, found) in [validated(&["-f", "-"], &text), analyzed(&["-f", "-"], &text)] {
            assert_eq!((code, codes(&found)), (0, vec!["HDL0003 warning".to_owned()]), "{found:?}");
            let message = found[0]["message"].as_str().unwrap();
            assert!(message.contains("not served yet: what the policy selects is denied"), "{message}");
        }
    }
}

#[test]
fn help_of_the_verbs_that_read_configuration_has_examples_and_exit_codes() {
    for (verb, words) in [
        ("validate", &["Ends with 0", "-R", "-o json"][..]),
        ("analyze", &["Ends with 0", "IST0101", "heddle analyze -f"]),
        ("explain", &["Examples:", "--method", "--header"]),
        ("config", &["routes", "endpoints", "listeners", "policies", "--node"]),
    ] {
        let output = heddle(&[verb, "--help"], "");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{verb}");
        for word in words {
            assert!(text.contains(word), "heddle {verb} --help does not say {word}: {text}");
        }
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = heddle(&["completion", shell], "");
        let script = String::from_utf8_lossy(&output.stdout).into_owned();
        for word in ["config", "explain", "analyze", "validate", "filename", "recursive"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        // The others' generators leave the values of arguments out.
        assert!(!["bash", "zsh"].contains(&shell) || script.contains("listeners"), "{shell}");
    }
}
