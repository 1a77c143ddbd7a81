//! Looks at a directory in which everything happens that can happen to files.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;

use serde_json::json;

use heddle_api::normalised::Context;

use super::*;
use crate::index::input::{Change, Input, InputKind};
use crate::registry::shelf::Shelf;
use crate::registry::{Judged, Verdict};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> (Self, Scan) {
        let folder = tempfile::TempDir::new().unwrap();
        fs::create_dir(folder.path().join("objects")).unwrap();
        let scan =
            Scan::new(folder.path().join("objects"), Holdings::new(Context::default(), Shelf::default()));
        (Self(folder), scan)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("objects").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(self.0.path().join("new"), text).unwrap();
        fs::rename(self.0.path().join("new"), path).unwrap();
    }
}

fn namespace(name: &str, version: u64, mesh: &str) -> String {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata":
        {"name": name, "resourceVersion": version.to_string(), "labels": {"heddle.dev/mesh": mesh}}})
    .to_string()
}

fn puts(batch: &Batch) -> Vec<&str> {
    let names = batch.changes.iter().filter_map(|change| match change {
        Change::Put(key, _) => Some(&*key.name),
        Change::Remove(_) => None,
    });
    names.collect()
}

fn removes(batch: &Batch) -> Vec<&str> {
    let names = batch.changes.iter().filter_map(|change| match change {
        Change::Remove(key) => Some(&*key.name),
        Change::Put(..) => None,
    });
    names.collect()
}

#[test]
fn every_look_brings_what_changed_since_the_last() {
    let (folder, mut scan) = Folder::new();
    folder.write("a.json", &namespace("a", 3, "enabled"));
    folder.write("deep/er/b.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: c}\n");
    folder.write(".hidden.json", &namespace("h", 9, "enabled"));
    folder.write("notes.txt", "no manifest");
    let batch = scan.look();
    assert!(batch.complete && batch.problems.is_empty(), "{:?}", batch.problems);
    assert_eq!((puts(&batch), batch.resource_version), (vec!["a", "b", "c"], 3));
    assert!(scan.look().changes.is_empty());
    folder.write("a.json", &namespace("a", 4, "disabled"));
    let batch = scan.look();
    assert_eq!((puts(&batch), batch.resource_version), (vec!["a"], 4));
    fs::remove_dir_all(folder.path("deep")).unwrap();
    assert_eq!(removes(&scan.look()), ["b", "c"]);
}

#[test]
fn a_broken_file_is_named_and_stops_nobody() {
    let (folder, mut scan) = Folder::new();
    folder.write("a.json", &namespace("a", 1, "enabled"));
    scan.look();
    folder.write("a.json", "{\"kind\": \"Namespace\", ");
    folder.write("b.json", &namespace("b", 2, "enabled"));
    folder
        .write("c.json", "{\"apiVersion\": \"v1\", \"kind\": \"Nonsense\", \"metadata\": {\"name\": \"c\"}}");
    folder.write("d.json", "");
    fs::write(folder.path("e.json"), [0xff, 0xfe]).unwrap();
    let batch = scan.look();
    assert_eq!((puts(&batch), removes(&batch)), (vec!["b"], vec![]));
    let named = |name: &str| batch.problems.iter().any(|problem| problem.object.ends_with(name));
    assert!(named("a.json") && named("c.json") && named("e.json"), "{:?}", batch.problems);
    folder.write("a.json", &namespace("a", 1, "enabled"));
    let batch = scan.look();
    assert!(!batch.problems.iter().any(|problem| problem.object.ends_with("a.json")));
}

#[test]
fn a_file_that_is_renamed_keeps_its_object() {
    let (folder, mut scan) = Folder::new();
    folder.write("a.json", &namespace("a", 1, "enabled"));
    scan.look();
    fs::rename(folder.path("a.json"), folder.path("z.json")).unwrap();
    let batch = scan.look();
    let last = batch.changes.last().unwrap();
    assert!(matches!(last, Change::Put(key, _) if *key.name == *"a"), "{:?}", batch.changes);
}

#[test]
fn of_two_files_with_one_object_the_first_counts_until_it_is_gone() {
    let (folder, mut scan) = Folder::new();
    folder.write("a.json", &namespace("x", 1, "enabled"));
    folder.write("b.json", &namespace("x", 2, "disabled"));
    let batch = scan.look();
    assert_eq!((puts(&batch).len(), batch.problems.len()), (1, 1));
    assert!(batch.problems[0].message.contains("a.json"));
    fs::remove_file(folder.path("a.json")).unwrap();
    let batch = scan.look();
    assert_eq!(puts(&batch), ["x"]);
    assert!(batch.problems.is_empty());
}

#[test]
fn a_directory_that_is_gone_deletes_nothing() {
    let (folder, mut scan) = Folder::new();
    folder.write("a.json", &namespace("a", 1, "enabled"));
    scan.look();
    fs::rename(folder.path(""), folder.0.path().join("elsewhere")).unwrap();
    let batch = scan.look();
    assert!(batch.changes.is_empty() && !batch.complete && batch.problems.len() == 1);
    fs::rename(folder.0.path().join("elsewhere"), folder.path("")).unwrap();
    assert!(scan.look().changes.is_empty());
}

#[test]
fn a_marker_counts_what_is_no_object_any_more() {
    let (folder, mut scan) = Folder::new();
    folder.write("a.json", &namespace("a", 1, "enabled"));
    folder.write(".resource-version", "7\n");
    assert_eq!(scan.look().resource_version, 7);
    fs::remove_file(folder.path("a.json")).unwrap();
    assert_eq!(scan.look().resource_version, 7, "never back");
}

#[test]
fn a_broken_policy_that_never_was_good_denies() {
    let (folder, mut scan) = Folder::new();
    let policy = |mode: &str| {
        json!({"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
            "metadata": {"name": "p", "namespace": "ns"}, "spec": {"mtls": {"mode": mode}}})
        .to_string()
    };
    folder.write("p.json", &policy("STRCT"));
    let batch = scan.look();
    assert!(
        matches!(&batch.changes[..], [Change::Put(key, Input::Denial(_))] if key.kind == InputKind::PeerAuthentication),
        "{:?}",
        batch.changes
    );
    folder.write("p.json", &policy("STRICT"));
    assert!(matches!(&scan.look().changes[..], [Change::Put(_, Input::PeerAuthentication(_))]));
    folder.write("p.json", &policy("STRCT"));
    let batch = scan.look();
    assert!(batch.changes.is_empty(), "the last good one stays");
    assert!(matches!(&batch.verdicts[..], [(_, Some(Judged { verdict: Verdict::Invalid(_), .. }))]));
}

#[test]
fn a_look_at_some_files_brings_what_changed_in_them() {
    let (folder, mut scan) = Folder::new();
    folder.write("a.json", &namespace("a", 1, "enabled"));
    let some = |names: &[&str]| names.iter().map(|name| folder.path(name)).collect();
    assert_eq!(puts(&scan.look_at(&some(&["other.json"]))), ["a"], "the first look is a walk");
    folder.write("a.json", &namespace("a", 2, "disabled"));
    folder.write("b.json", &namespace("b", 3, "enabled"));
    let batch = scan.look_at(&some(&["b.json", "c.json"]));
    assert_eq!((puts(&batch), removes(&batch).len(), batch.complete), (vec!["b"], 0, true));
    assert_eq!(batch.resource_version, 1, "the change of a was not seen");
    fs::remove_file(folder.path("b.json")).unwrap();
    let batch = scan.look_at(&some(&["a.json", "b.json"]));
    assert_eq!((puts(&batch), removes(&batch)), (vec!["a"], vec!["b"]));
    assert_eq!(scan.look().resource_version, 2);
    // What another file defined too counts as soon as the first is gone.
    folder.write("z.json", &namespace("a", 4, "enabled"));
    assert_eq!(scan.look_at(&some(&["z.json"])).problems.len(), 1);
    fs::remove_file(folder.path("a.json")).unwrap();
    let batch = scan.look_at(&some(&["a.json"]));
    assert_eq!((puts(&batch), batch.problems.len()), (vec!["a"], 0));
}

#[test]
fn who_sees_what_says_nothing_is_what_the_mesh_config_says_of_today() {
    use heddle_core::object::{ExportTo, TrafficObject};
    let (folder, mut scan) = Folder::new();
    let config = |mesh: &str| {
        let metadata = json!({"name": "heddle", "namespace": "heddle-system"});
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"mesh": mesh}})
            .to_string()
    };
    folder.write(
        "objects.yaml",
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r, namespace: ns}\nspec: {host: a, \
         trafficPolicy: {tls: {mode: DISABLE}}}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: ns}\nspec: \
         {ports: [{port: 80}]}\n",
    );
    let read = |batch: &Batch| {
        let (mut rule, mut service) = (None, None);
        for change in &batch.changes {
            match change {
                Change::Put(_, Input::Traffic(object)) => {
                    let TrafficObject::DestinationRule(read) = &**object else { continue };
                    rule = Some(read.export_to.clone());
                }
                Change::Put(_, Input::Service(read)) => service = Some(read.export_to.clone()),
                _ => {}
            }
        }
        (rule, service)
    };
    assert_eq!(read(&scan.look()), (Some(ExportTo::All), Some(vec![])));
    folder.write("mesh.json", &config("defaultDestinationRuleExportTo: ['.']\ndefaultServiceExportTo: [x]"));
    let own = ExportTo::Namespaces(["ns".to_owned()].into());
    assert_eq!(read(&scan.look()), (Some(own), Some(vec!["x".to_owned()])));
    assert_eq!(read(&scan.look()), (None, None), "nothing has changed since");
    folder.write("mesh.json", &config("defaultDestinationRuleExportTo: ['.']"));
    assert_eq!(read(&scan.look_at(&[folder.path("mesh.json")].into())), (None, Some(vec![])));
    fs::remove_file(folder.path("mesh.json")).unwrap();
    assert_eq!(read(&scan.look()), (Some(ExportTo::All), None));
}
