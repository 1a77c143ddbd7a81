//! Records of the pods that plugins told of: the file of each says by which attachment it is there.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use heddle_cni::protocol::{Attachment, Key};
use serde::{Deserialize, Serialize};

use crate::datapath::place::{self, Place};
use crate::node::NodeRoots;
use crate::pod::NetnsCookie;

/// Ending of a record that a DEL ended. Its pod's processes may still be there for a moment, and are not to be found again.
pub(crate) const ENDED: &str = "ended";

/// One record; enrolment reads the fields that a kubelet's record has too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CniRecord {
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
    #[serde(default)]
    pub(super) service_account: String,
    pub(super) ips: Vec<IpAddr>,
    pub(super) netns: PathBuf,
    pub(super) netns_cookie: u64,
    pub(super) host_ifindex: u32,
    pub(super) host_interface: String,
    #[serde(flatten)]
    pub(super) key: Key,
}

impl CniRecord {
    pub(super) fn new(attachment: &Attachment, place: &Place) -> Self {
        Self {
            uid: attachment.uid.clone(),
            namespace: attachment.namespace.clone(),
            name: attachment.name.clone(),
            service_account: String::new(),
            ips: attachment.ips.clone(),
            netns: attachment.netns.clone(),
            netns_cookie: place.cookie.0,
            host_ifindex: place.host_ifindex,
            host_interface: place.host_interface.clone(),
            key: attachment.key.clone(),
        }
    }

    /// Whether its namespace is gone. Blocks.
    pub(super) fn is_stale(&self, roots: &NodeRoots) -> bool {
        place::is_gone(&roots.find(&self.netns), NetnsCookie(self.netns_cookie))
    }
}

/// The folder; every change looks and writes under one lock. Calls block.
#[derive(Clone, Debug)]
pub struct Records {
    folder: PathBuf,
    turn: Arc<Mutex<()>>,
}

impl Records {
    /// The folder that enrolment reads.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), turn: Arc::default() }
    }

    /// Writes, in place of an older attachment of the same pod. False: it was there.
    pub(super) fn put(&self, record: &CniRecord) -> io::Result<bool> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path(&record.uid, "json");
        if read(&path).is_ok_and(|found| found == *record) {
            return Ok(false);
        }
        let temporary = self.folder.join(format!(".{}.new", record.uid));
        fs::write(&temporary, serde_json::to_vec(record)?)?;
        fs::rename(temporary, path)?;
        gone(fs::remove_file(self.path(&record.uid, ENDED)))?;
        Ok(true)
    }

    /// The record of an attachment.
    pub(super) fn get(&self, key: &Key) -> io::Result<Option<CniRecord>> {
        Ok(self.all()?.into_iter().find(|record| record.key == *key))
    }

    /// Ends an attachment; one that is not there, or that another of the pod has replaced, is fine.
    pub(super) fn end(&self, key: &Key) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = self.get(key)? else { return Ok(()) };
        gone(fs::rename(self.path(&record.uid, "json"), self.path(&record.uid, ENDED)))
    }

    /// Takes back the record of a pod that was not let start.
    pub(super) fn withdraw(&self, key: &Key) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = self.get(key)? else { return Ok(()) };
        gone(fs::remove_file(self.path(&record.uid, "json")))
    }

    /// Removes records that `is_stale`, and notes of ended pods that nobody `knows` any more.
    pub(super) fn sweep(
        &self,
        is_stale: impl Fn(&CniRecord) -> bool,
        knows: impl Fn(&str) -> bool,
    ) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        for record in self.all()? {
            if is_stale(&record) {
                tracing::info!(pod = %format_args!("{}/{}", record.namespace, record.name), "its network namespace is gone, and so its record");
                gone(fs::remove_file(self.path(&record.uid, "json")))?;
            }
        }
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let uid = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if path.extension().is_some_and(|ending| ending == ENDED) && !knows(uid) {
                gone(fs::remove_file(&path))?;
            }
        }
        Ok(())
    }

    /// Those that plugins told of; a record of another origin, or one that cannot be read, is none of ours.
    fn all(&self) -> io::Result<Vec<CniRecord>> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "json") {
                records.extend(read(&path).ok());
            }
        }
        Ok(records)
    }

    fn path(&self, uid: &str, ending: &str) -> PathBuf {
        self.folder.join(format!("{uid}.{ending}"))
    }
}

fn read(path: &Path) -> io::Result<CniRecord> {
    serde_json::from_slice(&fs::read(path)?).map_err(io::Error::other)
}

fn gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
