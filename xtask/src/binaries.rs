//! `cargo xtask build`, and the verbs that are programs of the workspace: the demo.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use crate::failure::{During, Failure, Result};
use crate::setup::{self, Purpose};
use crate::workspace::{cargo, root, target_dir};
use crate::{ebpf, process};

/// Packages whose binaries people run.
const PRODUCTS: [&str; 3] = ["heddle-cli", "heddle-controlplane", "heddle-agent"];

/// Which of cargo's profiles.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Release,
    Debug,
}

impl Profile {
    /// As `--debug` says.
    pub(crate) fn of(debug: bool) -> Self {
        if debug { Self::Debug } else { Self::Release }
    }

    /// The folder of its binaries.
    pub(crate) fn folder(self) -> PathBuf {
        target_dir().join(if self == Self::Release { "release" } else { "debug" })
    }
}

/// Builds `heddle`, `heddle-controller`, `heddle-agent` with the eBPF object inside, and `heddle-cni`.
pub(crate) fn build(profile: Profile) -> Result<PathBuf> {
    let folder = build_packages(profile, &PRODUCTS)?;
    build_plugin(profile)?;
    Ok(folder)
}

/// The CNI plugin: linked statically, because it runs on the node, whatever C library that has.
fn build_plugin(profile: Profile) -> Result {
    let mut command = cargo();
    command.args(["rustc", "--package", "heddle-cni", "--bin", "heddle-cni"]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    process::run(command.args(["--", "-C", "target-feature=+crt-static"]))
}

/// The same, with the programs that tests and demo drive.
pub(crate) fn build_with_tests(profile: Profile) -> Result<PathBuf> {
    build_packages(profile, &[&PRODUCTS[..], &["heddle-cni", "heddle-tests"]].concat())
}

/// Builds an integration test and returns its binary.
pub(crate) fn test_binary(package: &str, test: &str) -> Result<PathBuf> {
    ebpf::build()?;
    let mut command = cargo();
    command.args(["test", "--no-run", "--package", package, "--test", test]);
    let messages = process::output(command.args(["--message-format", "json-render-diagnostics"]))?;
    let values = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut of_test = values.filter(|value| value["target"]["name"] == test);
    let found = of_test.find_map(|value| value["executable"].as_str().map(PathBuf::from));
    found.during(format!("cargo built no test {test} of {package}"))
}

/// `cargo xtask demo`: builds, then becomes the demo, which gets the arguments.
pub(crate) fn demo(arguments: &[String]) -> Result {
    become_program("heddle-demo", &[Purpose::Sandbox, Purpose::Tests], arguments)
}

/// `cargo xtask bench`: the same for the benchmark, whose rows are listed without building it.
pub(crate) fn bench(arguments: &[String]) -> Result {
    if arguments.iter().any(|argument| argument == "--list") {
        print!("{}", include_str!("../../tests/src/bin/bench/rows.txt"));
        return Ok(());
    }
    become_program("heddle-bench", &[Purpose::Sandbox, Purpose::Bench], arguments)
}

fn become_program(name: &str, purposes: &[Purpose], arguments: &[String]) -> Result {
    // What only prints needs neither packages nor root.
    let prints = arguments.iter().any(|argument| ["--list", "--help", "-h"].contains(&argument.as_str()));
    if !prints {
        if !setup::is_root() {
            return Err(Failure::new(
                "the sandbox makes network namespaces and loads eBPF: run this as root",
            ));
        }
        setup::packages(purposes)?;
    }
    let folder = build_with_tests(Profile::Release)?;
    let mut program = std::process::Command::new(folder.join(name));
    let error = program.args(absolute(arguments)).current_dir(root()).env("HEDDLE_BIN_DIR", &folder).exec();
    Err(Failure::new(format!("{}: {error}", folder.join(name).display())))
}

/// The file after `--report` is relative to where the caller is; the programs run in the checkout.
fn absolute(arguments: &[String]) -> Vec<String> {
    let here = |file: &str| {
        let path = std::path::absolute(file).unwrap_or_else(|_| file.into());
        path.to_string_lossy().into_owned()
    };
    let mut is_file = false;
    let mut all = Vec::new();
    for argument in arguments {
        let joined = argument.strip_prefix("--report=").map(|file| format!("--report={}", here(file)));
        all.push(joined.unwrap_or_else(|| if is_file { here(argument) } else { argument.clone() }));
        is_file = argument == "--report";
    }
    all
}

fn build_packages(profile: Profile, packages: &[&str]) -> Result<PathBuf> {
    ebpf::build()?;
    let mut command = cargo();
    command.arg("build");
    if profile == Profile::Release {
        command.arg("--release");
    }
    for package in packages {
        command.args(["--package", package]);
    }
    process::run(&mut command)?;
    Ok(profile.folder())
}
