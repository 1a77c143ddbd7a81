//! The CNI plugin against the agent's side of it, on real network namespaces behind veths. Needs root.
#![allow(clippy::unwrap_used, clippy::panic)]
#![allow(dead_code, reason = "the lab is the datapath's too")]

#[path = "../datapath/lab.rs"]
mod lab;
mod runtime;

use std::fs;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use heddle_agent::datapath::WorkerCommand;
use heddle_cni::enrolled::Enrolled;
use heddle_core::mtls::{MtlsMode, MtlsPolicy};
use lab::{Lab, Site, inside, ip, listen};
use runtime::{Node, until};

fn permissive() -> MtlsPolicy {
    MtlsPolicy::new(MtlsMode::Permissive, [])
}

#[test]
fn add_answers_when_the_pod_is_captured_and_del_releases_it() {
    let mut lab = Lab::new();
    let site = lab.site(1);
    lab.start_agent();
    lab.want(&site, true, permissive());
    let node = Node::new(&lab);
    let added = node.call("ADD", "one", &site).run();
    assert_eq!(
        added["ips"][0]["address"],
        format!("{}/24", site.v4),
        "the result is passed through: {added}"
    );
    let listeners = lab.listeners();
    assert_eq!((listeners.pod.host_ifindex, &*listeners.pod.service_account), (site.ifindex, "default"));
    assert!(node.is_captured(&site));
    assert_eq!(node.call("CHECK", "one", &site).run(), "");

    // A second ADD of the same attachment changes nothing; the end of another attachment does not either.
    assert!(node.call("ADD", "one", &site).run().is_object());
    assert_eq!(node.call("DEL", "other", &site).run(), "");
    assert!(node.is_captured(&site) && lab.agent().orders.try_recv().is_err());

    for _ in 0..2 {
        assert_eq!(node.call("DEL", "one", &site).run(), "");
    }
    until("released", || !node.is_captured(&site));
    assert!(matches!(lab.agent().orders.try_recv(), Ok(WorkerCommand::Stop(_))));
    assert_eq!((node.count("ADD", "ok"), node.count("CHECK", "ok"), node.count("DEL", "ok")), (2, 1, 3));
}

#[test]
fn a_pod_is_held_until_the_controller_has_said_what_it_is() {
    let mut lab = Lab::new();
    let (mesh, plain) = (lab.site(1), lab.site(2));
    lab.start_agent();
    lab.publish();
    let node = Node::new(&lab);
    node.connected(true);
    let waiting = node.call("ADD", "one", &mesh).start();
    until("a record's time", || !waiting.is_finished());
    lab.want(&mesh, true, permissive());
    assert!(waiting.join().unwrap().is_object());
    drop(lab.listeners());
    // Outside of the mesh: at once, and remembered, so that a label suffices later.
    lab.want(&plain, false, permissive());
    assert!(node.call("ADD", "two", &plain).run().is_object());
    assert!(!node.is_captured(&plain));
    lab.want(&plain, true, permissive());
    assert_eq!(lab.listeners().pod.host_ifindex, plain.ifindex);
}

#[test]
fn a_pod_that_comes_again_is_not_mistaken_for_the_sandbox_before() {
    let mut lab = Lab::new();
    let old = lab.site(1);
    lab.start_agent();
    lab.want(&old, true, permissive());
    let node = Node::new(&lab);
    node.call("ADD", "old", &old).run();
    let first = lab.listeners().pod.cookie;
    // The sandbox is made anew for the same pod; the end of the old one is told late, and twice.
    let mut new = lab.site(2);
    new.uid = old.uid.clone();
    assert!(node.call("ADD", "new", &new).run().is_object());
    until("an order to stop", || matches!(lab.agent().orders.try_recv(), Ok(WorkerCommand::Stop(_))));
    let second = lab.listeners().pod;
    assert!(second.cookie != first && second.host_ifindex == new.ifindex);
    for _ in 0..2 {
        assert_eq!(node.call("DEL", "old", &old).run(), "");
    }
    assert_eq!(node.call("CHECK", "new", &new).run(), "");
    assert!(node.is_captured(&new) && lab.agent().orders.try_recv().is_err());
}

#[test]
fn what_cannot_be_captured_does_not_start_and_leaves_nothing() {
    let mut lab = Lab::new();
    let site = lab.site(1);
    lab.start_agent();
    lab.want(&site, true, permissive());
    let node = Node::new(&lab);
    let refused = |call: &runtime::Call, code: u64, why: &str| {
        let error = call.run();
        assert_eq!(error["code"], code, "{error}");
        assert!(error["details"].as_str().unwrap().contains(why), "{error} does not say {why}");
        assert_eq!(node.records(), 0);
    };
    let add = || node.call("ADD", "one", &site);
    refused(&add().netns("/run/netns/nowhere"), 101, "network namespace /run/netns/nowhere");
    refused(&add().netns("/proc/thread-self/ns/net"), 101, "the node's own network namespace");
    refused(&add().ips(&["10.77.9.9"]), 101, "10.77.9.9 is not in");
    refused(&add().ips(&[]), 101, "no address");
    refused(&add().named("test", "another"), 101, "the controller says test/");
    // An interface that is no veth of this node.
    let odd = lab.site(2);
    lab.want(&odd, true, permissive());
    inside(&odd.netns, || {
        ip("link add inner0 type veth peer name inner1");
        ip("addr add 10.77.2.77/32 dev inner0");
    });
    refused(&node.call("ADD", "two", &odd).ips(&["10.77.2.77"]), 101, "behind a veth only");

    // Deleted while it waits: a process that has the agent's port keeps it from being captured.
    let _stranger = listen(&site.netns, SocketAddr::new(site.v4, 15006));
    let waiting = add().start();
    until("a record", || node.records() == 1);
    lab.forget(&site);
    let error = waiting.join().unwrap();
    assert!(
        error["code"] == 11 && error["details"].as_str().unwrap().contains("was deleted meanwhile"),
        "{error}"
    );
    until("no record", || node.records() == 0);

    // The runtime gives up, and kills the plugin.
    lab.want(&site, true, permissive());
    node.ask_and_leave("ADD", "one", &site, || until("a record", || node.records() == 1));
    until("the plugin gone", || node.count("ADD", "gone") == 1);
    until("no record", || node.records() == 0);
    assert!(!node.is_captured(&site));
}

#[test]
fn check_says_what_is_not_as_it_was() {
    let mut lab = Lab::new();
    let (site, other, unknown) = (lab.site(1), lab.site(2), lab.site(3));
    lab.start_agent();
    lab.want(&site, true, permissive());
    lab.want(&unknown, true, permissive());
    let node = Node::new(&lab);
    node.call("ADD", "one", &site).run();
    drop(lab.listeners());
    let check = || node.call("CHECK", "one", &site);
    for (call, why) in [
        (check().ips(&["10.77.1.9"]), "prevResult has [10.77.1.9]"),
        (check().netns(&other.path()), "the record of the ADD has"),
        (node.call("CHECK", "never", &unknown), "enrolled and not captured"),
    ] {
        let error = call.run();
        assert_eq!(error["code"], 102, "{error}");
        assert!(error["details"].as_str().unwrap().contains(why), "{error} does not say {why}");
    }
    inside(&site.netns, || ip(&format!("addr del {}/32 dev eth0", site.v4)));
    assert!(check().run()["details"].as_str().unwrap().contains("is not in"));
    assert_eq!(node.call("CHECK", "never", &other).run(), "", "not of the mesh");
}

#[test]
fn gc_removes_what_is_gone_and_nothing_else() {
    let mut lab = Lab::new();
    let (kept, listed, gone) = (lab.site(1), lab.site(2), lab.site(3));
    lab.start_agent();
    for site in [&kept, &listed, &gone] {
        lab.want(site, false, permissive());
    }
    let node = Node::new(&lab);
    for (container, site) in [("kept", &kept), ("listed", &listed), ("gone", &gone)] {
        node.call("ADD", container, site).run();
    }
    assert_eq!(node.records(), 3);
    let path = listed.path();
    drop((listed, gone));
    assert!(fs::metadata(&path).is_err());
    // `kept` is in another runtime's list, perhaps: its namespace is there.
    assert_eq!(node.gc(&["listed"]), "");
    assert_eq!(node.records(), 2);
    assert_eq!(node.gc(&[]), "");
    assert_eq!(node.records(), 1);
}

#[test]
fn while_the_agent_is_away_its_list_says_what_may_start_and_what_ended_meanwhile_goes() {
    let mut lab = Lab::new();
    let (mesh, plain) = (lab.site(1), lab.site(2));
    lab.start_agent();
    lab.enrol_namespaces(&["test"]);
    lab.want(&mesh, false, permissive());
    let node = Node::new(&lab);
    until("the list", || Enrolled::read(&node.namespaces_file()).is_ok_and(|list| list.is_some()));
    // The controller is away: nobody knows the pods of a namespace that is enrolled, nor needs to know others.
    let error = node.call("ADD", "two", &plain).run();
    assert!(error["details"].as_str().unwrap().contains("namespace test is enrolled"), "{error}");
    assert!(node.call("ADD", "two", &plain).named("other", "pod").run().is_object());
    assert!(node.call("ADD", "three", &plain).named("kube-system", "pod").run().is_object());
    node.call("ADD", "one", &mesh).run();
    let second = heddle_agent::cni::listen(&node.socket()).unwrap_err().to_string();
    assert!(second.contains("another agent runs on this node"), "{second}");

    let node = node.stopped();
    let error = node.call("ADD", "four", &plain).run();
    assert!(
        error["code"] == 11 && error["details"].as_str().unwrap().contains("namespace test is enrolled"),
        "{error}"
    );
    assert!(node.call("ADD", "four", &plain).named("other", "pod").run().is_object());
    assert_eq!(node.call("DEL", "one", &mesh).run(), "");
    assert!(node.records() > 0);
    drop((mesh, plain));
    let node = node.started(&lab);
    until("records of what ended", || node.records() == 0);
}

/// A process in a namespace, in the cgroup of its pod.
struct Running(Child, PathBuf);

impl Running {
    fn new(lab: &Lab, site: &Site, container: &str) -> Self {
        let folder = lab.cgroup.join(format!("kubepods/pod{}/{container}", site.uid));
        fs::create_dir_all(&folder).unwrap();
        let namespace = format!("--net=/proc/{}/fd/{}", std::process::id(), site.netns.as_raw_fd());
        let mut command = Command::new("nsenter");
        let child = command.arg(namespace).args(["sleep", "1000"]).stdin(Stdio::null()).spawn().unwrap();
        fs::write(folder.join("cgroup.procs"), child.id().to_string()).unwrap();
        let running = Self(child, folder);
        let inode = |path: String| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        until("the process in its namespace", || {
            inode(format!("/proc/{}/ns/net", running.0.id())) == inode(site.path())
        });
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        // The container's, the pod's when it was the last, and that of all pods.
        for folder in self.1.ancestors().take(3) {
            let _ = fs::remove_dir(folder);
        }
    }
}

#[test]
fn a_pod_that_runs_without_a_record_is_found_by_its_processes() {
    let mut lab = Lab::new();
    let (site, silent) = (lab.site(1), lab.site(2));
    lab.finds_running = true;
    lab.start_agent();
    let _processes = [Running::new(&lab, &site, "sandbox"), Running::new(&lab, &site, "app")];
    let node = Node::new(&lab);
    // Its namespace is labelled. Without the controller's word about its addresses there is nothing to tell it by.
    let applied = lab.want(&site, true, permissive());
    assert!(applied.failed[0].1.contains("has not said its addresses"), "{applied:?}");
    lab.announce(&site);
    assert_eq!(lab.listeners().pod.host_ifindex, site.ifindex);
    until("captured", || node.is_captured(&site));
    // Enrolled, and not started yet: not a failure.
    lab.announce(&silent);
    assert_eq!(lab.want(&silent, true, permissive()).failed, []);

    // A new agent finds it again, and nothing is swept away meanwhile.
    lab.kill_agent();
    lab.start_agent();
    assert_eq!(lab.listeners().pod.host_ifindex, site.ifindex);
    let node = node.stopped().started(&lab);
    until("captured", || node.is_captured(&site));
    // Unlabelled: released like any other that runs on.
    lab.want(&site, false, permissive());
    until("an order to release", || matches!(lab.agent().orders.try_recv(), Ok(WorkerCommand::Release(_))));
    lab.want(&site, true, permissive());
    drop(lab.listeners());

    // With a record it is the record's; after the DEL its last processes do not bring it back.
    node.call("ADD", "one", &site).run();
    node.call("DEL", "one", &site).run();
    until("released", || !node.is_captured(&site));
    let applied = lab.want(&site, true, MtlsPolicy::new(MtlsMode::Strict, []));
    assert_eq!((applied.enrolled, applied.failed), (0, vec![]));
}

#[test]
fn a_process_that_stands_in_another_namespace_brings_nobody_else_in() {
    let mut lab = Lab::new();
    let (site, victim) = (lab.site(1), lab.site(2));
    lab.finds_running = true;
    lab.start_agent();
    // The pod's only process is in the victim's namespace, and in the node's.
    let _process = Running::new(&lab, &Site { uid: site.uid.clone(), ..victim }, "app");
    lab.announce(&site);
    let applied = lab.want(&site, true, permissive());
    assert!(applied.failed[0].1.contains("is not in /proc/"), "{applied:?}");
    assert_eq!(applied.enrolled, 0);
}
