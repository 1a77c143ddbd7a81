//! Local pod records: one JSON file per pod of the node, written before any of its containers start.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heddle_core::names::PodUid;
use serde::Deserialize;

use super::{netns, veth};
use crate::pod::Pod;

/// One record, as the kubelet of the sandbox or the CNI plugin writes it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) service_account: String,
    pub(super) ips: Vec<IpAddr>,
    pub(super) netns: PathBuf,
    pub(super) host_ifindex: u32,
}

impl Record {
    /// The pod that this describes, once its namespace confirms it.
    pub(super) fn open(&self) -> Result<Pod, String> {
        let path = self.netns.display();
        let netns: OwnedFd =
            File::open(&self.netns).map_err(|error| format!("network namespace {path}: {error}"))?.into();
        let cookie = netns::cookie(netns.as_fd()).map_err(|error| format!("{path}: {error}"))?;
        if netns::own_cookie().is_ok_and(|own| own == cookie) {
            return Err(format!("{path} is the node's own network namespace"));
        }
        let found =
            netns::addresses(netns.as_fd()).map_err(|error| format!("addresses of {path}: {error}"))?;
        if self.ips.is_empty() {
            return Err("its record names no address".to_owned());
        }
        if let Some(absent) = self.ips.iter().find(|ip| !found.contains(ip)) {
            return Err(format!("its address {absent} is not in {path}"));
        }
        let pod = Pod {
            uid: PodUid::new(self.uid.as_str()),
            namespace: Arc::from(self.namespace.as_str()),
            name: Arc::from(self.name.as_str()),
            service_account: Arc::from(self.service_account.as_str()),
            addresses: self.ips.clone().into_boxed_slice(),
            cookie,
            netns,
            host_ifindex: self.host_ifindex,
        };
        veth::confirm(&pod)?;
        Ok(pod)
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
