//! An OCI image in one archive, made without a container engine: `ctr images import`, `docker load`, `podman load` take it.
//!
//! The layout of the image specification (`oci-layout`, `index.json`, `blobs/`), with Docker's `manifest.json` beside it.

use std::path::Path;

use serde_json::{Value, json};

use super::archive::{self, Entries, Entry};
use super::checksums::sha256;
use super::stamp::Stamp;
use super::{VERSION, rootfs};
use crate::failure::{During, Result};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One of ours.
pub(super) struct Image {
    binary: &'static str,
    /// Whom it runs as, where that is not root.
    user: &'static str,
    about: &'static str,
}

impl Image {
    /// All that run in a cluster.
    pub(super) const ALL: [Self; 3] = [
        Self {
            binary: "heddle-controller",
            user: "65532:65532",
            about: "Heddle's controller: discovery, certificates and status",
        },
        Self {
            binary: "heddle-agent",
            user: "",
            about: "Heddle's agent: one per node, captures and carries the traffic of its pods",
        },
        Self { binary: "heddle-cni", user: "", about: "Heddle's CNI plugin and its installer" },
    ];

    /// `heddle-cni-0.1.0-linux-amd64.oci.tar`.
    pub(super) fn file_name(&self) -> String {
        format!("{}-{VERSION}-linux-{}.oci.tar", self.binary, architecture())
    }

    /// The archive's bytes, from the stripped binary in a folder.
    pub(super) fn archive(&self, binaries: &Path, stamp: &Stamp) -> Result<Vec<u8>> {
        let files = rootfs::of(&binaries.join(self.binary), &self.entrypoint())?;
        self.pack(&files, stamp)
    }

    fn entrypoint(&self) -> String {
        format!("/usr/local/bin/{}", self.binary)
    }

    /// `heddle.dev/heddle-cni:0.1.0`.
    pub(super) fn name(&self) -> String {
        format!("heddle.dev/{}:{VERSION}", self.binary)
    }

    pub(super) fn pack(&self, files: &Entries, stamp: &Stamp) -> Result<Vec<u8>> {
        let plain = archive::tar(files, stamp.seconds)?;
        let mut blobs = Blobs::default();
        let layer = blobs.add("application/vnd.oci.image.layer.v1.tar+gzip", archive::gzip(&plain)?);
        let config = self.config(&sha256(&plain), stamp);
        let config = blobs.add("application/vnd.oci.image.config.v1+json", text(&config)?);
        let (config_path, layer_path) = (path(&config), path(&layer));
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
        let mut manifest = blobs.add(MANIFEST, text(&manifest)?);
        manifest["platform"] = json!({"architecture": architecture(), "os": "linux"});
        manifest["annotations"] = json!({
            // By which containerd and Docker know it, and the tag by which other tools find it in here.
            "io.containerd.image.name": self.name(),
            "org.opencontainers.image.ref.name": VERSION,
        });
        let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [manifest]});
        let docker = json!([{"Config": config_path, "RepoTags": [self.name()], "Layers": [layer_path]}]);
        let mut entries = blobs.entries;
        for folder in ["blobs", "blobs/sha256"] {
            entries.insert(folder.to_owned(), Entry::Folder { mode: 0o755 });
        }
        entries.insert("oci-layout".to_owned(), Entry::file(text(&json!({"imageLayoutVersion": "1.0.0"}))?));
        entries.insert("index.json".to_owned(), Entry::file(text(&index)?));
        entries.insert("manifest.json".to_owned(), Entry::file(text(&docker)?));
        archive::tar(&entries, stamp.seconds)
    }

    fn config(&self, diff: &str, stamp: &Stamp) -> Value {
        let mut run = json!({
            "Env": [PATH],
            "Entrypoint": [self.entrypoint()],
            "WorkingDir": "/",
            "Labels": {
                "org.opencontainers.image.title": self.binary,
                "org.opencontainers.image.description": self.about,
                "org.opencontainers.image.version": VERSION,
                "org.opencontainers.image.revision": stamp.revision,
                "org.opencontainers.image.created": stamp.time,
                "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
            },
        });
        if !self.user.is_empty() {
            run["User"] = self.user.into();
        }
        json!({
            "created": stamp.time,
            "architecture": architecture(),
            "os": "linux",
            "config": run,
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{diff}")]},
            "history": [{"created": stamp.time, "created_by": "cargo xtask dist"}],
        })
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Content by its digest.
#[derive(Default)]
struct Blobs {
    entries: Entries,
}

impl Blobs {
    /// Returns its descriptor.
    fn add(&mut self, media_type: &str, content: Vec<u8>) -> Value {
        let descriptor = json!({"mediaType": media_type, "digest": format!("sha256:{}", sha256(&content)),
            "size": content.len()});
        self.entries.insert(path(&descriptor), Entry::file(content));
        descriptor
    }
}

/// Where a blob lies, by its descriptor.
fn path(descriptor: &Value) -> String {
    format!("blobs/{}", descriptor["digest"].as_str().unwrap_or_default().replace(':', "/"))
}

fn text(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value).during("JSON")
}

/// As Go calls it, which images go by.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
