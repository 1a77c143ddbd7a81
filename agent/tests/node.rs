//! The agent finds its node: the kubelet among processes that look like one, its cgroup, and the node's file system from inside of a
//! container. Needs root.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use heddle_agent::node::{Kubelet, Prober, Proc};
use heddle_cni::invocation::Environment;
use heddle_cni::plugin::{self, Output};

const SOON: Duration = Duration::from_secs(60);
const UID: &str = "6a1f6d0e-6f2b-4a56-9d1f-3b6a0f0f7c11";

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < SOON, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A part of cgroup2 that stands for the whole, a folder of programs, and a /proc that shows this test's processes alone.
struct Machine {
    folder: tempfile::TempDir,
    root: PathBuf,
}

/// Ended with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Machine {
    fn new(name: &str) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "tests of the node need root");
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let mut points = mounts.lines().filter_map(|line| line.split_once(" cgroup2 ")?.0.split(' ').nth(1));
        let root = Path::new(points.next().expect("cgroup2 is mounted"))
            .join(format!("heddle-node-{name}-{}", std::process::id()));
        fs::create_dir(&root).unwrap();
        let machine = Self { folder: tempfile::tempdir().unwrap(), root };
        machine.show(std::process::id());
        machine
    }

    fn proc(&self) -> Proc {
        Proc::at(self.folder.path().join("proc"))
    }

    fn show(&self, pid: u32) {
        let proc = self.folder.path().join("proc");
        fs::create_dir_all(&proc).unwrap();
        symlink(format!("/proc/{pid}"), proc.join(pid.to_string())).unwrap();
    }

    /// A program of this name in a cgroup below the root, by way of `wrapper`.
    fn run(&self, program: &str, cgroup: &str, wrapper: &[&str]) -> Process {
        let file = self.folder.path().join(program);
        if !file.exists() {
            // By another process: one that this one forks meanwhile would hold the file open for writing, and it could not be run.
            assert!(Command::new("cp").arg("/bin/sleep").arg(&file).status().unwrap().success());
        }
        let folder = self.root.join(cgroup);
        fs::create_dir_all(&folder).unwrap();
        let words: Vec<_> =
            wrapper.iter().map(Path::new).chain([file.as_path(), Path::new("1000")]).collect();
        let child = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).spawn().unwrap();
        fs::write(folder.join("cgroup.procs"), child.id().to_string()).unwrap();
        until("the program", || {
            fs::read_link(format!("/proc/{}/exe", child.id())).is_ok_and(|exe| exe == file)
        });
        self.show(child.id());
        Process(child)
    }

    fn prober(&self) -> Prober {
        Prober::new(self.proc(), self.root.clone(), "node-1")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        remove(&self.root);
    }
}

/// A cgroup and those below it, whose processes have ended.
fn remove(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

#[test]
fn the_kubelet_is_roots_in_the_nodes_network_and_in_no_pod() {
    let machine = Machine::new("find");
    let found = || Kubelet::find(&machine.proc()).map(|kubelet| kubelet.pid);
    let _others = [
        machine.run("kubelet", &format!("kubepods/pod{UID}/app"), &[]),
        machine.run("kubelet", "elsewhere", &["unshare", "--net"]),
        machine.run("kubelet", "user", &["setpriv", "--reuid=65534", "--clear-groups"]),
        machine.run("kubelets", "system/x", &[]),
    ];
    assert_eq!(found(), None, "a pod with hostNetwork, another node, a user, another program");
    let kubelet = machine.run("kubelet", "system/kubelet.service", &[]);
    assert_eq!(found(), Some(kubelet.0.id()));
    let known = Kubelet::find(&machine.proc()).unwrap();
    assert!(known.runs(&machine.proc()));
    drop(kubelet);
    assert!(!known.runs(&machine.proc()) && found().is_none());
}

#[test]
fn a_kubelet_with_a_cgroup_of_its_own_keeps_it_and_one_without_is_given_one() {
    let machine = Machine::new("prober");
    let mut prober = machine.prober();
    assert!(prober.look().unwrap_err().contains("no kubelet runs"));
    // As systemd has it.
    let kubelet = machine.run("kubelet", "system/kubelet.service", &[]);
    let own = machine.root.join("system/kubelet.service");
    assert_eq!(prober.look(), Ok(own));
    // Somebody joins it: then its connections are not the kubelet's alone. Nothing is limited here, so the kubelet may move.
    let _guest = machine.run("stranger", "system/kubelet.service", &[]);
    let given = machine.root.join("heddle-kubelet-node-1");
    assert_eq!(prober.look(), Ok(given.clone()));
    let inside = |folder: &Path| fs::read_to_string(folder.join("cgroup.procs")).unwrap();
    assert_eq!(inside(&given), format!("{}\n", kubelet.0.id()));
    drop(kubelet);
    assert!(prober.look().is_err());
    // It comes again where everything is in the root, as on a node whose controllers are version 1's.
    let again = machine.run("kubelet", "", &[]);
    let _runtime = machine.run("containerd", "", &[]);
    assert_eq!(prober.look(), Ok(given.clone()));
    assert_eq!(inside(&given), format!("{}\n", again.0.id()));
    assert_eq!(prober.look(), Ok(given), "and stays");
}

#[test]
fn a_kubelet_that_was_moved_goes_back_and_no_folder_of_ours_stays() {
    let machine = Machine::new("leave");
    let leave = || heddle_agent::node::leave(&machine.proc(), &machine.root, "node-1").unwrap();
    assert_eq!(leave(), None, "nothing was moved");
    let kubelet = machine.run("kubelet", "", &[]);
    let _runtime = machine.run("containerd", "", &[]);
    let given = machine.root.join("heddle-kubelet-node-1");
    assert_eq!(machine.prober().look(), Ok(given.clone()));
    fs::create_dir(machine.root.join("heddle-agent-node-1")).unwrap();
    let others = machine.root.join("heddle-kubelet-node-10");
    fs::create_dir(&others).unwrap();

    assert_eq!(leave(), Some(machine.root.clone()));
    let inside = fs::read_to_string(machine.root.join("cgroup.procs")).unwrap();
    assert!(inside.lines().any(|line| line == kubelet.0.id().to_string()), "{inside}");
    assert!(!given.exists() && !machine.root.join("heddle-agent-node-1").exists());
    assert!(others.exists(), "another node's");
    assert_eq!(leave(), None);
}

/// A cgroup that the agent makes, removed when what was in it has ended.
struct Given(PathBuf);

impl Drop for Given {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// The agent as a pod with hostNetwork and hostPID has it: in the node's network namespace, in mount and cgroup namespaces of its own.
/// The node is a kubelet in namespaces of its own.
#[test]
fn an_agent_in_a_container_finds_its_nodes_cgroup_bpffs_and_kubelet_by_itself() {
    let machine = Machine::new("container");
    let _given =
        ["heddle-kubelet-node-7", "heddle-agent-node-7"].map(|name| Given(machine.root.with_file_name(name)));
    let node = "mount -t tmpfs none /run && mkdir -p /run/heddle && exec \"$0\" \"$1\"";
    let kubelet = machine.run("kubelet", "", &["unshare", "--mount", "--net", "sh", "-c", node]);
    let _runtime = machine.run("containerd", "", &[]);
    let pid = kubelet.0.id();
    let log = machine.folder.path().join("log");
    let at = |name: &str| machine.folder.path().join(name).display().to_string();
    fs::write(at("root.pem"), "").unwrap();
    fs::write(at("token"), "").unwrap();
    let mut command = Command::new("nsenter");
    command.args([
        &format!("--net=/proc/{pid}/ns/net"),
        "unshare",
        "--mount",
        "--cgroup",
        env!("CARGO_BIN_EXE_heddle-agent"),
    ]);
    command.args(["--node", "node-7", "--controller", "127.0.0.1:15012", "--drain", "1s", "--log", "info"]);
    for (flag, name) in [
        ("--root-cert", "root.pem"),
        ("--token-file", "token"),
        ("--pods-dir", "pods"),
        ("--captured-dir", "captured"),
        ("--state-dir", "state"),
        ("--keys-dir", "keys"),
        ("--admin-socket", "agent.sock"),
        ("--cni-socket", "cni/cni.sock"),
        ("--cni-dir", "cni"),
    ] {
        command.args([flag, &at(name)]);
    }
    let mut agent =
        Process(command.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap());
    let said = || fs::read_to_string(&log).unwrap();
    until("the agent's word", || {
        said().contains("probes reach STRICT pods") || said().contains("heddle-agent: ")
    });
    assert!(said().contains("heddle-kubelet-node-7"), "{}", said());
    until("its socket", || Path::new(&at("cni/cni.sock")).exists());
    let node_run = PathBuf::from(format!("/proc/{pid}/root")).join("run/heddle/bpf");
    let kind = nix::sys::statfs::statfs(&node_run).unwrap().filesystem_type();
    assert_eq!(kind, nix::sys::statfs::BPF_FS_MAGIC, "in the node's mount namespace");
    let folders = fs::read_dir(&node_run).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir());
    assert_eq!(folders.count(), 1, "pins");
    let cgroup = |pid: u32| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(cgroup(pid).contains("/heddle-kubelet-node-7"), "{}", cgroup(pid));
    // It has no controller: what is excluded starts, and nothing else.
    let ask = |command: &str, namespace: &str| {
        let args = format!("K8S_POD_NAMESPACE={namespace};K8S_POD_NAME=p;K8S_POD_UID={UID}");
        let netns = format!("/proc/{pid}/ns/net");
        let variables = [
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", "c"),
            ("CNI_NETNS", &netns),
            ("CNI_IFNAME", "eth0"),
            ("CNI_ARGS", &args),
        ];
        let environment =
            Environment::new(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let config = serde_json::json!({
            "cniVersion": "1.1.0", "name": "net", "socket": at("cni/cni.sock"), "namespacesFile": at("cni/namespaces.json"),
            "prevResult": {"ips": []},
        });
        plugin::run(&environment, config.to_string().as_bytes())
    };
    assert_eq!(ask("STATUS", "any"), Output::Nothing, "else the node would take no controller");
    assert!(matches!(ask("ADD", "kube-system"), Output::Result(_)));
    let Output::Error(error) = ask("ADD", "shop") else { panic!("an ADD without a configuration") };
    assert!(
        error["code"] == 11 && error["details"].as_str().unwrap().contains("no configuration yet"),
        "{error}"
    );
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(agent.0.id().try_into().unwrap()),
        nix::sys::signal::Signal::SIGTERM,
    )
    .unwrap();
    assert!(agent.0.wait().unwrap().success(), "{}", said());

    // As pods that look at the node and clean it up have it: in namespaces of their own, in which the bpffs is mounted too.
    let verb = |words: &[&str]| {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{pid}/ns/net")).args(["unshare", "--mount", "--cgroup"]);
        let output = command.arg(env!("CARGO_BIN_EXE_heddle-agent")).args(words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let found: serde_json::Value = serde_json::from_str(&verb(&["check"])).unwrap();
    for (check, part) in [
        ("kernel", "every eBPF feature"),
        ("kubelet", "process"),
        ("cgroup2", "/"),
        ("bpffs", "/run/heddle/bpf"),
    ] {
        let right = |each: &&serde_json::Value| {
            each["check"] == check
                && each["status"] == "ok"
                && each["message"].as_str().unwrap().contains(part)
        };
        assert!(found.as_array().unwrap().iter().any(|each| right(&each)), "{check}: {found:#}");
    }
    let remove = || verb(&["remove", "--node", "node-7"]);
    let removed = remove();
    assert!(removed.contains("detached") && removed.contains("the kubelet is back in"), "{removed}");
    assert!(!node_run.exists() && !cgroup(pid).contains("heddle"), "{}", cgroup(pid));
    assert_eq!(remove(), "there was nothing to remove\n");
}
