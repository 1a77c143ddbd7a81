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
