//! Local pod records: one JSON file per pod of the node, written before any of its containers start.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heddle_core::names::PodUid;
use heddle_core::workload::LocalWorkload;
use serde::Deserialize;

use super::{place, veth};
use crate::node::NodeRoots;
use crate::pod::Pod;

/// One record, as the kubelet of the sandbox or the CNI plugin writes it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
    /// What the controller says counts; a CNI plugin is not told.
    #[serde(default)]
    pub(super) service_account: String,
    pub(super) ips: Vec<IpAddr>,
    pub(super) netns: PathBuf,
    pub(super) host_ifindex: u32,
    /// The namespace that was meant, where the path may come to be another one's.
    #[serde(default)]
    pub(super) netns_cookie: Option<u64>,
}

impl Record {
    /// The pod that this describes, once its namespace confirms it.
    pub(super) fn open(&self, local: &LocalWorkload, roots: &NodeRoots) -> Result<Pod, String> {
        let (netns, cookie) = place::open(&roots.find(&self.netns), &self.ips)?;
        if self.netns_cookie.is_some_and(|meant| meant != cookie.0) {
            return Err(format!(
                "{} is another network namespace than its record means",
                self.netns.display()
            ));
        }
        veth::confirm(self.host_ifindex, netns.as_fd(), &self.ips)?;
        Ok(Pod {
            uid: PodUid::new(self.uid.as_str()),
            namespace: Arc::from(self.namespace.as_str()),
            name: Arc::from(self.name.as_str()),
            service_account: Arc::from(local.identity.service_account()),
            addresses: self.ips.clone().into_boxed_slice(),
            cookie,
            netns,
            host_ifindex: self.host_ifindex,
        })
    }
}

/// Records by UID.
type Records = HashMap<PodUid, Record>;

/// Every record of the folder, and those that cannot be read with the reason: one poisons no other.
pub(super) fn read_all(folder: &Path) -> io::Result<(Records, Vec<(PodUid, String)>)> {
    let (mut records, mut unreadable) = (HashMap::new(), Vec::new());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(uid) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".json")) else {
            continue;
        };
        if uid.starts_with('.') {
            continue;
        }
        match read(&path) {
            Ok(record) => drop(records.insert(PodUid::new(record.uid.as_str()), record)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                unreadable.push((PodUid::new(uid), format!("its record {}: {error}", path.display())))
            }
        }
    }
    Ok((records, unreadable))
}

fn read(path: &Path) -> io::Result<Record> {
    let text = fs::read(path)?;
    serde_json::from_slice(&text).map_err(io::Error::other)
}
