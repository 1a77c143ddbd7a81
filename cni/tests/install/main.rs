//! `heddle-cni install` and `remove` on a folder that others write too.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use heddle_cni::install::folder::{Folder, State};
use heddle_cni::install::report::Report;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// For anything that another process is to do.
const SOON: Duration = Duration::from_secs(30);

struct Node(tempfile::TempDir);

/// Ended with the test, whichever way that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn terminate(mut self) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Node {
    fn new() -> Self {
        let node = Self(tempfile::tempdir().unwrap());
        fs::create_dir(node.conf()).unwrap();
        node
    }

    fn conf(&self) -> PathBuf {
        self.0.path().join("net.d")
    }

    fn bin(&self) -> PathBuf {
        self.0.path().join("bin")
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_heddle-cni"));
        command.arg(verb).arg("--conf-dir").arg(self.conf()).arg("--bin-dir").arg(self.bin());
        if verb == "install" {
            command.arg("--report").arg(self.report()).args(["--exclude-namespaces", "kube-system,mesh"]);
        }
        command
    }

    fn report(&self) -> PathBuf {
        self.0.path().join("state/installer.json")
    }

    fn once(&self) -> (bool, String) {
        let output = self.command("install").arg("--once").output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    }

    fn start(&self) -> Running {
        Running(self.command("install").spawn().unwrap())
    }

    fn remove(&self) {
        assert!(self.command("remove").status().unwrap().success());
    }

    fn write(&self, name: &str, value: &Value) {
        fs::write(self.conf().join(name), value.to_string()).unwrap();
    }

    fn read(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.conf().join(name)).unwrap()).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.conf()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn types(&self, name: &str) -> Vec<String> {
        let list = self.read(name);
        list["plugins"]
            .as_array()
            .unwrap()
            .iter()
            .map(|plugin| plugin["type"].as_str().unwrap().to_owned())
            .collect()
    }

    fn has_plugin(&self, name: &str) -> bool {
        let text = fs::read_to_string(self.conf().join(name)).unwrap_or_default();
        text.contains("heddle-cni") && serde_json::from_str::<Value>(&text).is_ok()
    }
}

fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < SOON, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ptp() -> Value {
    json!({"cniVersion": "0.3.1", "name": "ptp", "keep": {"me": 1}, "plugins": [{"type": "ptp", "mtu": 1500}, {"type": "portmap"}]})
}

#[test]
fn the_file_that_the_runtime_uses_gets_the_plugin_and_keeps_mode_and_owner() {
    let node = Node::new();
    for (name, other) in
        [("20-later.conflist", "later"), ("10-ptp.conflist", "ptp"), ("30-last.conf", "last")]
    {
        let mut list = ptp();
        list["name"] = json!(other);
        node.write(name, &list);
    }
    fs::write(node.conf().join("00-README"), "no configuration").unwrap();
    fs::create_dir(node.conf().join("00-folder.conflist")).unwrap();
    let path = node.conf().join("10-ptp.conflist");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(&path, Some(12), Some(34)).unwrap();
    assert!(node.once().0);
    let list = node.read("10-ptp.conflist");
    assert_eq!(node.types("10-ptp.conflist"), ["ptp", "portmap", "heddle-cni"]);
    assert_eq!(
        (&list["keep"], &list["plugins"][0]),
        (&json!({"me": 1}), &json!({"type": "ptp", "mtu": 1500}))
    );
    assert_eq!(list["plugins"][2]["excludeNamespaces"], json!(["kube-system", "mesh"]));
    let found = fs::metadata(&path).unwrap();
    assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o640, 12, 34));
    assert_eq!(node.types("20-later.conflist"), ["ptp", "portmap"]);
    let binary = fs::metadata(node.bin().join("heddle-cni")).unwrap();
    assert_eq!(binary.mode() & 0o7777, 0o755);
    let before = (found.ino(), binary.ino());
    assert!(node.once().0, "a second time");
    let inodes = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_eq!((inodes(&path), inodes(&node.bin().join("heddle-cni"))), before, "nothing was written");

    node.remove();
    assert_eq!(node.read("10-ptp.conflist"), ptp());
    assert!(!node.bin().join("heddle-cni").exists());
    assert_eq!(
        node.names(),
        ["00-README", "00-folder.conflist", "10-ptp.conflist", "20-later.conflist", "30-last.conf"]
    );
    node.remove();
}

#[test]
fn a_plain_file_becomes_a_chain_and_comes_back() {
    let node = Node::new();
    let plain = json!({"cniVersion": "1.0.0", "name": "net", "type": "ptp", "ipam": {"type": "host-local"}});
    node.write("10-net.conf", &plain);
    assert!(node.once().0);
    assert_eq!(node.names(), ["10-net.conf.heddle-saved", "10-net.conflist"]);
    assert_eq!(node.types("10-net.conflist"), ["ptp", "heddle-cni"]);
    assert_eq!(node.read("10-net.conflist")["plugins"][0], plain);
    // The CNI writes its file again: it counts again, and becomes the chain again.
    let mut newer = plain;
    newer["mtu"] = json!(9000);
    node.write("10-net.conf", &newer);
    assert!(node.once().0);
    assert_eq!(node.names(), ["10-net.conf.heddle-saved", "10-net.conflist"]);
    assert_eq!(node.read("10-net.conflist")["plugins"][0], newer);
    node.remove();
    assert_eq!((node.names(), node.read("10-net.conf")), (vec!["10-net.conf".to_owned()], newer));

    // Beside somebody's chain of that name, which stays.
    node.write("10-net.conflist", &ptp());
    assert!(node.once().0);
    assert_eq!(node.names(), ["10-net.conf.conflist", "10-net.conf.heddle-saved", "10-net.conflist"]);
    assert_eq!((node.types("10-net.conf.conflist").len(), node.read("10-net.conflist")), (2, ptp()));
    node.remove();
    assert_eq!(
        (node.names(), node.read("10-net.conflist")),
        (vec!["10-net.conf".to_owned(), "10-net.conflist".to_owned()], ptp())
    );
}

#[test]
fn a_configuration_that_comes_first_takes_the_plugin_over() {
    let node = Node::new();
    node.write("10-ptp.conflist", &ptp());
    assert!(node.once().0);
    node.write("05-other.conflist", &json!({"name": "other", "plugins": [{"type": "bridge"}]}));
    assert!(node.once().0);
    assert_eq!(node.types("05-other.conflist"), ["bridge", "heddle-cni"]);
    assert_eq!(node.types("10-ptp.conflist"), ["ptp", "portmap"]);
    // CRI-O passes over what cannot be read; containerd then starts nothing at all.
    fs::write(node.conf().join("01-broken.conflist"), "{").unwrap();
    assert!(node.once().0);
    assert_eq!(node.types("05-other.conflist"), ["bridge", "heddle-cni"]);
}

#[test]
fn whether_the_runtime_calls_the_plugin_is_seen_without_a_change() {
    let node = Node::new();
    let state = || Folder::new(node.conf()).state().unwrap();
    assert_eq!(state(), State::Absent);
    node.write("10-ptp.conflist", &ptp());
    fs::write(node.conf().join("05-broken.conflist"), "{").unwrap();
    let is = |wanted: bool| {
        matches!(state(), State::Present { file, chained, text }
            if file == node.conf().join("10-ptp.conflist") && chained == wanted && text.contains("portmap"))
    };
    assert!(is(false));
    assert!(node.once().0);
    let names = node.names();
    assert!(is(true) && node.names() == names, "{names:?}");
    node.remove();
    assert!(is(false));
}

#[test]
fn a_node_without_a_configuration_is_waited_for_and_one_that_cannot_be_read_is_named() {
    let node = Node::new();
    let running = node.start();
    until("a report", || Report::read(&node.report()).is_some_and(|report| report.error.is_some()));
    assert!(Report::read(&node.report()).unwrap().error.unwrap().contains("no network configuration yet"));
    fs::write(node.conf().join("10-x.conflist"), r#"{"plugins":[]}"#).unwrap();
    until("the file named", || {
        Report::read(&node.report())
            .unwrap()
            .error
            .is_some_and(|error| error.contains("10-x.conflist: its list of plugins is empty"))
    });
    node.write("10-x.conflist", &ptp());
    until("installed", || node.has_plugin("10-x.conflist"));
    until("reported", || {
        Report::read(&node.report()).is_some_and(|report| report.error.is_none() && report.repairs == 1)
    });
    running.terminate();
    assert!(node.has_plugin("10-x.conflist"), "SIGTERM leaves it in");
}

#[test]
fn what_another_program_rewrites_is_repaired_at_once_and_then_at_a_bounded_pace() {
    let node = Node::new();
    node.write("10-ptp.conflist", &ptp());
    let running = node.start();
    for round in 1..=4 {
        until("installed", || node.has_plugin("10-ptp.conflist"));
        until("counted", || Report::read(&node.report()).is_some_and(|report| report.repairs == round));
        node.write("10-ptp.conflist", &ptp());
        until("repaired", || node.has_plugin("10-ptp.conflist"));
    }
    // A program that undoes every repair: writes without end.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(6) {
        if node.has_plugin("10-ptp.conflist") {
            node.write("10-ptp.conflist", &ptp());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let report = Report::read(&node.report()).unwrap();
    assert!(report.repairs <= 9 && report.held_back >= 1, "{report:?}");
    fs::remove_file(node.bin().join("heddle-cni")).unwrap();
    until("the binary again", || node.bin().join("heddle-cni").exists());
    running.terminate();
    assert!(node.names().iter().all(|name| !name.contains("heddle")), "{:?}", node.names());
}

#[test]
fn what_a_killed_installer_left_half_written_goes() {
    let node = Node::new();
    node.write("10-ptp.conflist", &ptp());
    fs::write(node.conf().join("10-ptp.conflist.heddle-new"), "{").unwrap();
    assert!(node.once().0);
    assert_eq!(node.names(), ["10-ptp.conflist"]);
}
