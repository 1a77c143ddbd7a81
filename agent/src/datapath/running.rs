//! Pods that run without a record: their network namespace is that of the processes in their cgroup.
//!
//! A pod's cgroup is made by the kubelet, below nothing that the pod can write. Labels, names and environments of processes are
//! the pod's own words, and not asked.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use heddle_core::names::PodUid;
use heddle_core::snapshot::Snapshot;
use heddle_core::workload::LocalWorkload;

use super::place;
use super::records::Record;
use crate::node::Proc;

/// A walk over /proc takes milliseconds, so many a second at the most.
const APART: Duration = Duration::from_secs(1);

/// Looks for pods in /proc.
#[derive(Debug)]
pub(super) struct Running {
    proc: Proc,
    looked: Option<Instant>,
}

/// What a look found: a record, or why there is none although the pod has processes.
pub(super) type Found = (PodUid, Result<Record, String>);

impl Running {
    pub(super) fn new(proc: Proc) -> Self {
        Self { proc, looked: None }
    }

    /// Records of these pods, for those that run. `None`: it is too early to look again.
    pub(super) fn find(&mut self, wanted: &[&LocalWorkload], snapshot: &Snapshot) -> Option<Vec<Found>> {
        if wanted.is_empty() {
            return Some(Vec::new());
        }
        if self.looked.is_some_and(|looked| looked.elapsed() < APART) {
            return None;
        }
        self.looked = Some(Instant::now());
        let mut processes = self.processes(&wanted.iter().map(|local| &local.pod_uid).collect());
        let found = wanted.iter().filter_map(|local| {
            let of_pod = processes.remove(&local.pod_uid)?;
            let addresses =
                snapshot.workload(&local.workload_uid).map_or(&[][..], |workload| &workload.addresses);
            Some((local.pod_uid.clone(), self.record(local, addresses, &of_pod)))
        });
        Some(found.collect())
    }

    /// Processes of the pods, oldest number first: a sandbox's own process comes before its containers'.
    fn processes(&self, wanted: &HashSet<&PodUid>) -> HashMap<PodUid, Vec<u32>> {
        let mut found: HashMap<PodUid, Vec<u32>> = HashMap::new();
        for pid in self.proc.pids() {
            if let Some(uid) = self.proc.pod(pid)
                && wanted.contains(&uid)
            {
                found.entry(uid).or_default().push(pid);
            }
        }
        found
    }

    /// The first namespace among the pod's processes that holds its addresses: a process may stand in one of its own making.
    fn record(&self, local: &LocalWorkload, addresses: &[IpAddr], pids: &[u32]) -> Result<Record, String> {
        if addresses.is_empty() {
            return Err("it runs, and the controller has not said its addresses yet".to_owned());
        }
        let mut seen = HashSet::new();
        let mut reason = "its processes have ended".to_owned();
        for &pid in pids {
            let Some(inode) = self.proc.namespace(pid, "net") else { continue };
            if !seen.insert(inode) {
                continue;
            }
            let path = self.proc.file(pid, "ns/net");
            let looked = place::open(&path, addresses).and_then(|(netns, cookie)| {
                // The number may have passed to a process of another pod before the namespace was open.
                if self.proc.pod(pid).as_ref() != Some(&local.pod_uid) {
                    return Err("its process has ended".to_owned());
                }
                place::of(&netns, cookie, addresses)
            });
            match looked {
                Ok(place) => {
                    return Ok(Record {
                        uid: local.pod_uid.to_string(),
                        namespace: local.identity.namespace().to_owned(),
                        name: local.name.to_string(),
                        service_account: local.identity.service_account().to_owned(),
                        ips: addresses.to_vec(),
                        netns: path,
                        host_ifindex: place.host_ifindex,
                        netns_cookie: Some(place.cookie.0),
                    });
                }
                Err(error) => reason = format!("it runs, and {error}"),
            }
        }
        Err(reason)
    }
}
