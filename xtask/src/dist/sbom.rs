//! What the shipped programs are made of, as CycloneDX 1.5: their own crates and those that they are linked to, of both workspaces.
//!
//! What only the build or the tests use is not in them, so it is not in here; nor are crates that run inside the compiler.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Value, json};

use super::checksums::sha256;
use super::stamp::Stamp;
use super::{PACKAGES, VERSION};
use crate::failure::{During, Failure, Result};
use crate::process;
use crate::workspace::{cargo, root};

/// Its workspace is another, and its object is inside the agent.
const EBPF: &str = "heddle-ebpf";
const PRODUCT: &str = "heddle";

/// The document.
pub(super) fn document(stamp: &Stamp) -> Result<String> {
    let mut bill = Bill::default();
    for (folder, packages) in [(".", &PACKAGES[..]), ("ebpf", &[EBPF])] {
        let path = root().join(folder);
        let mut command = cargo();
        command.args(["metadata", "--format-version", "1", "--locked", "--manifest-path"]);
        let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let text =
            process::output(command.arg(path.join("Cargo.toml")).args(["--filter-platform", &platform]))?;
        let metadata: Value = serde_json::from_str(&text).during("cargo metadata")?;
        let lock = path.join("Cargo.lock");
        let sums = checksums(&fs::read_to_string(&lock).during(lock.display())?);
        bill.read(&metadata, packages, &sums)?;
    }
    bill.depends_on(
        &format!("{PRODUCT}@{VERSION}"),
        PACKAGES.into_iter().chain([EBPF]).map(|name| format!("{name}@{VERSION}")),
    );
    let mut text = serde_json::to_string_pretty(&bill.document(stamp)).during("the SBOM")?;
    text.push('\n');
    Ok(text)
}

/// By `name@version`.
#[derive(Default)]
struct Bill {
    components: BTreeMap<String, Value>,
    dependencies: BTreeMap<String, BTreeSet<String>>,
}

impl Bill {
    /// Walks from these packages along what is linked.
    fn read(&mut self, metadata: &Value, packages: &[&str], sums: &BTreeMap<String, String>) -> Result {
        let by_id = |list: &Value| -> BTreeMap<String, Value> {
            let entries = list.as_array().into_iter().flatten();
            entries.map(|entry| (text(&entry["id"]).to_owned(), entry.clone())).collect()
        };
        let (known, nodes) = (by_id(&metadata["packages"]), by_id(&metadata["resolve"]["nodes"]));
        let mut waiting: Vec<&str> = Vec::new();
        for name in packages {
            let found =
                known.iter().find(|(_, package)| package["name"] == *name && package["source"].is_null());
            let (id, _) = found.ok_or_else(|| Failure::new(format!("cargo metadata has no {name}")))?;
            waiting.push(id);
        }
        while let Some(id) = waiting.pop() {
            let (Some(package), Some(node)) = (known.get(id), nodes.get(id)) else { continue };
            let reference = reference(package);
            if self.components.contains_key(&reference) {
                continue;
            }
            self.components.insert(reference.clone(), component(package, sums.get(&reference)));
            let linked: Vec<&str> = node["deps"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|dependency| is_linked(dependency))
                .map(|dependency| text(&dependency["pkg"]))
                .filter(|id| known.get(*id).is_some_and(|package| !runs_in_the_compiler(package)))
                .collect();
            let names = linked.iter().filter_map(|id| known.get(*id)).map(self::reference);
            self.depends_on(&reference, names);
            waiting.extend(linked);
        }
        Ok(())
    }

    fn depends_on(&mut self, reference: &str, on: impl Iterator<Item = String>) {
        self.dependencies.entry(reference.to_owned()).or_default().extend(on);
    }

    fn document(&self, stamp: &Stamp) -> Value {
        let components: Vec<&Value> = self.components.values().collect();
        let dependencies: Vec<Value> = self
            .dependencies
            .iter()
            .map(|(reference, on)| json!({"ref": purl(reference), "dependsOn": on.iter().map(|on| purl(on)).collect::<Vec<_>>()}))
            .collect();
        let product = format!("{PRODUCT}@{VERSION}");
        let mut document = json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "serialNumber": "",
            "version": 1,
            "metadata": {
                "timestamp": stamp.time,
                "component": {"type": "application", "bom-ref": purl(&product), "name": PRODUCT, "version": VERSION,
                    "purl": purl(&product), "licenses": [{"expression": env!("CARGO_PKG_LICENSE")}],
                    "properties": [{"name": "heddle:revision", "value": stamp.revision}]},
            },
            "components": components,
            "dependencies": dependencies,
        });
        document["serialNumber"] = serial(&document).into();
        document
    }
}

/// A dependency that ends up in the program: neither of tests nor of the build alone.
fn is_linked(dependency: &Value) -> bool {
    dependency["dep_kinds"].as_array().into_iter().flatten().any(|kind| kind["kind"].is_null())
}

fn runs_in_the_compiler(package: &Value) -> bool {
    let targets = package["targets"].as_array().into_iter().flatten();
    targets
        .flat_map(|target| target["kind"].as_array().into_iter().flatten())
        .any(|kind| kind == "proc-macro")
}

fn reference(package: &Value) -> String {
    format!("{}@{}", text(&package["name"]), text(&package["version"]))
}

/// The name by which databases of vulnerabilities know it.
fn purl(reference: &str) -> String {
    format!("pkg:cargo/{reference}")
}

fn component(package: &Value, sum: Option<&String>) -> Value {
    let reference = reference(package);
    let mut component = json!({"type": "library", "bom-ref": purl(&reference), "name": package["name"],
        "version": package["version"], "purl": purl(&reference)});
    if let Some(license) = package["license"].as_str() {
        // As crates wrote it before there were expressions.
        let license = license.replace(" / ", "/").replace('/', " OR ");
        component["licenses"] = json!([{"expression": license}]);
    }
    if let Some(sum) = sum {
        component["hashes"] = json!([{"alg": "SHA-256", "content": sum}]);
    }
    component
}

/// A UUID of version 8, whose bits are its maker's own: here of the content.
fn serial(document: &Value) -> String {
    let hash = sha256(document.to_string().as_bytes());
    format!(
        "urn:uuid:{}-{}-8{}-8{}-{}",
        &hash[..8],
        &hash[8..12],
        &hash[13..16],
        &hash[17..20],
        &hash[20..32]
    )
}

/// `name@version` and what the registry's archive has to hash to.
fn checksums(lock: &str) -> BTreeMap<String, String> {
    let mut sums = BTreeMap::new();
    for package in lock.split("[[package]]") {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""));
            line.and_then(|line| line.strip_suffix('"'))
        };
        if let (Some(name), Some(version), Some(sum)) = (field("name"), field("version"), field("checksum")) {
            sums.insert(format!("{name}@{version}"), sum.to_owned());
        }
    }
    sums
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_is_linked_is_listed_with_its_checksum_and_the_rest_is_not() {
        let package = |name: &str, kind: &str, source: Option<&str>| {
            json!({"id": name, "name": name, "version": "1.0.0", "source": source, "license": "MIT/Apache-2.0",
                "targets": [{"kind": [kind]}]})
        };
        let dependency = |name: &str, kind: Option<&str>| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        let metadata = json!({
            "packages": [package("ours", "bin", None), package("linked", "lib", Some("r")), package("built", "lib", Some("r")),
                package("tested", "lib", Some("r")), package("derive", "proc-macro", Some("r"))],
            "resolve": {"nodes": [{"id": "ours", "deps": [dependency("linked", None), dependency("built", Some("build")),
                dependency("tested", Some("dev")), dependency("derive", None)]}, {"id": "linked", "deps": []}]},
        });
        let lock =
            "[[package]]\nname = \"linked\"\nversion = \"1.0.0\"\nsource = \"r\"\nchecksum = \"abc\"\n";
        let mut bill = Bill::default();
        bill.read(&metadata, &["ours"], &checksums(lock)).unwrap();
        assert_eq!(bill.components.keys().collect::<Vec<_>>(), ["linked@1.0.0", "ours@1.0.0"]);
        assert_eq!(bill.components["linked@1.0.0"]["hashes"][0]["content"], "abc");
        assert_eq!(bill.components["linked@1.0.0"]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        let document = bill.document(&Stamp::unknown());
        assert_eq!(document, bill.document(&Stamp::unknown()));
        let serial = document["serialNumber"].as_str().unwrap();
        assert_eq!(serial.strip_prefix("urn:uuid:").map(str::len), Some(36));
    }
}
