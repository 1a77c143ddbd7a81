//! The files, as they are committed.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// One object, and the file that it is in.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// Below `manifests/`.
    pub(crate) file: String,
    pub(crate) object: Value,
}

impl Document {
    pub(crate) fn kind(&self) -> &str {
        self.object["kind"].as_str().unwrap()
    }

    pub(crate) fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap()
    }

    pub(crate) fn namespace(&self) -> Option<&str> {
        self.object["metadata"]["namespace"].as_str()
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests")
}

pub(crate) fn text(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("manifests/{file}: {error}"))
}

/// Every object that `kubectl apply -k manifests` applies, as the kustomizations say.
pub(crate) fn applied() -> Vec<Document> {
    resources("").iter().flat_map(|file| read(file)).collect()
}

/// Files of a kustomization and of those that it takes in.
pub(crate) fn resources(folder: &str) -> Vec<String> {
    let kustomization: Value = serde_saphyr::from_str(&text(&format!("{folder}kustomization.yaml"))).unwrap();
    let mut files = Vec::new();
    for resource in kustomization["resources"].as_array().unwrap() {
        let path = format!("{folder}{}", resource.as_str().unwrap());
        if root().join(&path).is_dir() {
            files.extend(resources(&format!("{path}/")));
        } else {
            files.push(path);
        }
    }
    files
}

/// Every object of a folder.
pub(crate) fn folder(name: &str) -> Vec<Document> {
    let mut names: Vec<String> = fs::read_dir(root().join(name))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|file| file.ends_with(".yaml") && file != "kustomization.yaml")
        .collect();
    names.sort();
    names.iter().flat_map(|file| read(&format!("{name}/{file}"))).collect()
}

pub(crate) fn read(file: &str) -> Vec<Document> {
    let objects: Vec<Value> =
        serde_saphyr::from_multiple(&text(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    objects.into_iter().map(|object| Document { file: file.to_owned(), object }).collect()
}

#[test]
fn every_file_is_applied_by_the_kustomization_of_its_folder() {
    for folder in ["base", "crds"] {
        let listed = resources(&format!("{folder}/"));
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let name = format!("{folder}/{}", entry.unwrap().file_name().into_string().unwrap());
            assert!(listed.contains(&name) || name.ends_with("/kustomization.yaml"), "{name} is not listed");
        }
    }
}
