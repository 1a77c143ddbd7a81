//! A machine that lacks something: each program says what is missing and what to do, and changes nothing.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;
use std::process::{Command, Output};

use heddle_tests::sandbox::{binary, cgroup_root};

/// A folder that other users can enter, with a copy of a binary.
struct Shared(PathBuf);

impl Shared {
    fn new(name: &str, program: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("heddle-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let shared = Self(directory);
        std::fs::copy(binary(program).unwrap(), shared.0.join(program)).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&shared.0, mode).unwrap();
        shared
    }

    /// The agent's command line, with every path below this folder.
    fn agent(&self, cgroup: &str) -> String {
        let at = self.0.display();
        format!(
            "{at}/heddle-agent --node n --controller 127.0.0.1:1 --root-cert {at}/root.pem --token-file {at}/token \
             --pods-dir {at}/pods --captured-dir {at}/captured --bpffs {at}/bpf --cgroup {cgroup} --prober-cgroup {cgroup} \
             --state-dir {at}/state --keys-dir {at}/keys --admin-socket {at}/agent.sock"
        )
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn shell(line: &str) -> Output {
    Command::new("sh").args(["-c", line]).output().unwrap()
}

fn refused(output: &Output, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it went on: {text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

#[test]
fn without_root_the_agent_and_the_sandbox_say_so() {
    let agent = Shared::new("noroot", "heddle-agent");
    let cgroup = cgroup_root().unwrap();
    let nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    refused(&shell(&format!("{nobody} {}", agent.agent(&cgroup.to_string_lossy()))), &["root"]);
    let heddle = Shared::new("noroot-cli", "heddle");
    refused(&shell(&format!("{nobody} {}/heddle sandbox up --name t-nobody", heddle.0.display())), &["root"]);
}

#[test]
fn without_btf_the_agent_names_it() {
    let agent = Shared::new("nobtf", "heddle-agent");
    let cgroup = cgroup_root().unwrap();
    let hide = "mount -t tmpfs none /sys/kernel/btf";
    let line = format!("unshare -m sh -c '{hide} && {}'", agent.agent(&cgroup.to_string_lossy()));
    refused(&shell(&line), &["BTF", "CONFIG_DEBUG_INFO_BTF"]);
}

#[test]
fn without_cgroup2_the_agent_and_the_sandbox_name_it() {
    let agent = Shared::new("nocgroup", "heddle-agent");
    refused(&shell(&agent.agent("/tmp")), &["--cgroup /tmp", "cgroup v2"]);
    let heddle = binary("heddle").unwrap();
    let hide = format!("umount -l {}", cgroup_root().unwrap().display());
    let line = format!("unshare -m sh -c '{hide} && {} sandbox up --name t-nocgroup'", heddle.display());
    refused(&shell(&line), &["cgroup"]);
    assert!(!PathBuf::from("/run/heddle/t-nocgroup").exists());
}
