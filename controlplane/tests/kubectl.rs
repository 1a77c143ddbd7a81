//! What kubectl itself makes of the manifests. It has a harness of its own, which counts them as skipped where there is no kubectl.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use heddle_apiserver::{ADMIN, Double, Setup};
use serde_json::Value;

type Test = (&'static str, fn(&Path) -> Result<(), String>);

const TESTS: [Test; 3] = [
    ("kustomizations_build_and_have_each_object_once", kustomizations_build),
    ("kubectl_takes_everything_in_a_dry_run", dry_run),
    ("applied_twice_they_change_nothing", applied_twice),
];

fn main() -> ExitCode {
    // `cargo test NAME`: only those; `--list` and the like are libtest's.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let tests: Vec<Test> = TESTS.into_iter().filter(|(name, _)| wanted(name)).collect();
    let kubectl = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|folder| folder.join("kubectl"))
        .find(|path| path.is_file());
    let (mut passed, mut failed, mut ignored) = (0, 0, 0);
    for (name, test) in tests {
        let done = kubectl.as_deref().map(test);
        let told = match done {
            None => "ignored, there is no kubectl in PATH".to_owned(),
            Some(Ok(())) => "ok".to_owned(),
            Some(Err(ref error)) => format!("FAILED\n{error}"),
        };
        println!("test {name} ... {told}");
        *match done {
            None => &mut ignored,
            Some(Ok(())) => &mut passed,
            Some(Err(_)) => &mut failed,
        } += 1;
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "test result: {result}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; 0 filtered out"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests")
}

fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{command:?}: {}\n{errors}", output.status))
    }
}

fn kustomizations_build(kubectl: &Path) -> Result<(), String> {
    let mut all = BTreeSet::new();
    for (folder, least) in [("crds", 17), ("base", 10), ("", 27)] {
        let text = output(Command::new(kubectl).arg("kustomize").arg(manifests().join(folder)))?;
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(|error| error.to_string())?;
        let ids: BTreeSet<String> = objects.iter().map(id).collect();
        if ids.len() != objects.len() || ids.len() < least {
            return Err(format!(
                "manifests/{folder}: {} objects, {} of them different",
                objects.len(),
                ids.len()
            ));
        }
        if folder.is_empty() && ids != all {
            return Err("manifests/ is not its two parts".to_owned());
        }
        all.extend(ids);
    }
    Ok(())
}

fn id(object: &Value) -> String {
    let metadata = &object["metadata"];
    format!("{} {} {} {}", object["apiVersion"], object["kind"], metadata["namespace"], metadata["name"])
}

/// A double of the API server for kubectl, and the file by which kubectl finds it.
fn with_server(with: impl FnOnce(&Path, &Double) -> Result<(), String>) -> Result<(), String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let setup = Setup { mesh: false, ..Setup::default() };
    let double = runtime.block_on(Double::start(setup)).map_err(|error| error.to_string())?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let config = folder.path().join("kubeconfig");
    std::fs::write(&config, double.kubeconfig(ADMIN)).map_err(|error| error.to_string())?;
    with(&config, &double)
}

/// The double has no OpenAPI, hence no validation by kubectl; `manifests/typed.rs` does that.
fn apply(kubectl: &Path, config: &Path, more: &[&str]) -> Result<String, String> {
    let mut command = Command::new(kubectl);
    command.env("KUBECONFIG", config).env("HOME", config.parent().unwrap());
    output(command.args(["apply", "--validate=false"]).args(more).arg("-k").arg(manifests()))
}

fn dry_run(kubectl: &Path) -> Result<(), String> {
    with_server(|config, _| {
        let told = apply(kubectl, config, &["--dry-run=client"])?;
        let created = told.lines().filter(|line| line.contains("(dry run)")).count();
        if created < 27 { Err(told) } else { Ok(()) }
    })
}

fn applied_twice(kubectl: &Path) -> Result<(), String> {
    with_server(|config, double| {
        apply(kubectl, config, &[])?;
        let before = double.version();
        let told = apply(kubectl, config, &[])?;
        let quiet = told
            .lines()
            .all(|line| line.ends_with(" unchanged") || line.starts_with("namespace/heddle-system"));
        if quiet && double.version() == before { Ok(()) } else { Err(told) }
    })
}
