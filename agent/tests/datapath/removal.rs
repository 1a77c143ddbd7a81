//! `heddle-agent remove`: what an agent left in the kernel and on its node goes, and pods talk directly again.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use clap::Parser;
use heddle_agent::identity::KeyStore;
use heddle_agent::remove::{Remove, RemoveError};
use heddle_core::mtls::MtlsMode;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use crate::lab::{Lab, accept, connect, listen};

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    remove: Remove,
}

fn remove(lab: &Lab) -> Result<Vec<String>, RemoveError> {
    let run = lab.folder.path();
    let (bpffs, cgroup) = (run.join("bpf"), lab.cgroup.clone());
    let paths = [("--run-dir", run), ("--bpffs", &bpffs), ("--cgroup", &cgroup)];
    let words = paths.iter().map(|(flag, path)| format!("{flag}={}", path.display()));
    let words = ["remove".to_owned(), "--node=node-1".to_owned()].into_iter().chain(words);
    CommandLine::parse_from(words).remove.run()
}

fn is_mounted(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(1) == path.to_str())
}

#[test]
fn nothing_of_a_dead_agent_stays_and_its_pods_talk_directly() {
    let mut lab = Lab::new();
    let (client, server) = (lab.pod(1), lab.pod(2));
    lab.start_agent();
    let _held = (lab.enrol(&client, MtlsMode::Permissive), lab.enrol(&server, MtlsMode::Strict));
    let run = lab.folder.path().to_owned();
    let keys = run.join("keys");
    KeyStore::open(&keys).unwrap();
    fs::create_dir(run.join("playground")).unwrap();
    fs::write(run.join("playground/sandbox.json"), "{}").unwrap();
    assert!(matches!(remove(&lab), Err(RemoveError::Running(_))), "beside an agent");
    assert!(is_mounted(&run.join("bpf")) && run.join("pods").exists());
    // Where the folder is in memory already, keys need no mount of their own.
    let in_memory = statfs(&run).unwrap().filesystem_type() == TMPFS_MAGIC;
    assert_eq!(is_mounted(&keys), !in_memory);

    drop(_held);
    lab.kill_agent();
    let application = listen(&server.netns, SocketAddr::new(server.v4, 8080));
    let dialled = SocketAddr::new(server.v4, 8080);
    assert!(connect(&client.netns, dialled).is_err(), "without an agent nothing goes through");

    let said = remove(&lab).unwrap();
    let mut stream = connect(&client.netns, dialled).unwrap();
    stream.write_all(b"x").unwrap();
    assert!(accept(&application).is_some(), "the application itself");
    assert!(said[0].contains("links and filters detached"), "{said:?}");
    assert!(!is_mounted(&run.join("bpf")) && !is_mounted(&keys), "{said:?}");
    let left: Vec<_> = fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["playground"], "a sandbox is not the agent's");
    assert_eq!(remove(&lab).unwrap(), Vec::<String>::new(), "a second time there is nothing");

    // And an agent may come again.
    lab.start_agent();
}
