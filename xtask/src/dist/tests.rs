//! Archives: the same bytes for the same content, and what they say of themselves is so.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::Value;

use super::archive::{Entries, Entry};
use super::checksums::sha256;
use super::image::Image;
use super::stamp::Stamp;

fn content() -> Entries {
    let mut entries = Entries::new();
    entries.insert("usr/bin/program".to_owned(), Entry::program("#!/bin/true\n"));
    entries.insert("tmp".to_owned(), Entry::Folder { mode: 0o1777 });
    entries.insert("usr".to_owned(), Entry::Folder { mode: 0o755 });
    entries.insert("usr/bin".to_owned(), Entry::Folder { mode: 0o755 });
    entries
}

fn stamp() -> Stamp {
    Stamp { seconds: 1_700_000_000, time: "2023-11-14T22:13:20Z".to_owned(), revision: "abc".to_owned() }
}

fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().mtime().unwrap(), stamp().seconds);
        assert_eq!((entry.header().uid().unwrap(), entry.header().gid().unwrap()), (0, 0));
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        files.insert(entry.path().unwrap().to_string_lossy().into_owned(), content);
    }
    files
}

fn json(files: &BTreeMap<String, Vec<u8>>, path: &str) -> Value {
    serde_json::from_slice(&files[path]).unwrap()
}

#[test]
fn an_image_has_the_same_bytes_each_time() {
    for image in Image::ALL {
        assert!(image.pack(&content(), &stamp()).unwrap() == image.pack(&content(), &stamp()).unwrap());
    }
}

#[test]
fn every_digest_is_that_of_what_it_names() {
    let archive = Image::ALL[0].pack(&content(), &stamp()).unwrap();
    let files = files(&archive);
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let path = format!("blobs/sha256/{digest}");
        assert_eq!(sha256(&files[&path]), digest);
        assert_eq!(descriptor["size"], files[&path].len());
        path
    };
    let index = json(&files, "index.json");
    let manifest = json(&files, &blob(&index["manifests"][0]));
    let config = json(&files, &blob(&manifest["config"]));
    let layer = blob(&manifest["layers"][0]);
    let mut plain = Vec::new();
    GzDecoder::new(&files[&layer][..]).read_to_end(&mut plain).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", sha256(&plain)));
    assert_eq!(self::files(&plain)["usr/bin/program"], b"#!/bin/true\n");

    let docker = json(&files, "manifest.json");
    assert_eq!(docker[0]["Layers"][0], layer);
    assert!(files.contains_key(docker[0]["Config"].as_str().unwrap()));
    let name = index["manifests"][0]["annotations"]["io.containerd.image.name"].as_str().unwrap();
    assert_eq!(docker[0]["RepoTags"][0], name);
    assert_eq!(name, format!("heddle.dev/heddle-controller:{}", super::VERSION));
    assert_eq!(config["config"]["User"], "65532:65532", "the controller is not root");
}

#[test]
fn folders_come_before_what_is_in_them_and_programs_can_be_run() {
    let archive = super::archive::tar(&content(), 7).unwrap();
    let mut archive = tar::Archive::new(&archive[..]);
    let seen: Vec<(String, u32)> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.path().unwrap().to_string_lossy().into_owned(), entry.header().mode().unwrap())
        })
        .collect();
    let wanted = [("tmp/", 0o1777), ("usr/", 0o755), ("usr/bin/", 0o755), ("usr/bin/program", 0o755)];
    assert_eq!(seen, wanted.map(|(path, mode)| (path.to_owned(), mode)));
}

#[test]
fn the_containerfile_has_our_compiler_and_our_version_and_no_image_without_a_tag() {
    let read = |file: &str| std::fs::read_to_string(crate::workspace::root().join(file)).unwrap();
    let (file, toolchain) = (read("Containerfile"), read("rust-toolchain.toml"));
    let channel =
        toolchain.lines().find_map(|line| line.strip_prefix("channel = \"")?.strip_suffix('"')).unwrap();
    assert!(file.contains(&format!("rust:{channel}-")), "the compiler is {channel}");
    for image in Image::ALL {
        assert!(file.contains(&format!("-t {} .", image.name())), "{}", image.name());
    }
    for base in file.lines().filter_map(|line| line.strip_prefix("ARG ")?.split_once('=')) {
        let (_, tag) = base.1.rsplit_once(':').unwrap();
        assert!(!tag.is_empty() && tag != "latest", "{}", base.1);
    }
}
