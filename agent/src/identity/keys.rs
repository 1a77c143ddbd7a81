//! Unexpired keys on a root-only tmpfs: they survive the agent, never a reboot, and never reach a disk.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use heddle_core::names::PodUid;
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::tls::WorkloadCertificate;

/// Room for thousands of pods at about 3 KB.
const SIZE: &str = "size=32m,mode=0700";
const EXTENSION: &str = "pem";

/// The directory.
#[derive(Clone, Debug)]
pub struct KeyStore {
    directory: PathBuf,
}

/// Why the directory cannot be used, or a file in it.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The system refused.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// Somebody else can write or read it.
    #[error("{0} must belong to root with mode {1}")]
    Owner(PathBuf, &'static str),
    /// A UID that would be a path.
    #[error("'{0}' is not the UID of a pod")]
    Uid(PodUid),
    /// What is in a file is not a key with its certificate.
    #[error("{0}: {1}")]
    Content(PathBuf, String),
}

impl KeyStore {
    /// Opens the directory; makes it, and mounts a tmpfs on it, where that is missing.
    ///
    /// # Errors
    /// It cannot be made safe: then no key is written at all.
    pub fn open(directory: &Path) -> Result<Self, KeysError> {
        let io = |error: io::Error| KeysError::Io(directory.to_owned(), error);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io)?;
        let magic = statfs(directory).map_err(|errno| io(errno.into()))?.filesystem_type();
        if magic != TMPFS_MAGIC {
            mount_tmpfs(directory).map_err(io)?;
        }
        fs::set_permissions(directory, Permissions::from_mode(0o700)).map_err(io)?;
        let metadata = fs::symlink_metadata(directory).map_err(io)?;
        if !metadata.is_dir() || metadata.uid() != nix::unistd::geteuid().as_raw() {
            return Err(KeysError::Owner(directory.to_owned(), "0700"));
        }
        Ok(Self { directory: directory.to_owned() })
    }

    /// Keeps a key with its chain, in place of an earlier one.
    ///
    /// # Errors
    /// It could not be written; an earlier one is still whole.
    pub fn save(&self, pod: &PodUid, key_pem: &str, chain_pem: &str) -> Result<(), KeysError> {
        let path = self.path(pod)?;
        let temporary = path.with_extension("new");
        let write = || {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(key_pem.as_bytes())?;
            file.write_all(chain_pem.as_bytes())?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|error| KeysError::Io(path.clone(), error))
    }

    /// Reads what was kept for a pod, if anything.
    ///
    /// # Errors
    /// It is not ours, or not a key with its certificate.
    pub fn load(&self, pod: &PodUid) -> Result<Option<WorkloadCertificate>, KeysError> {
        let path = self.path(pod)?;
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(KeysError::Io(path, error)),
        };
        let ours = metadata.is_file() && metadata.uid() == nix::unistd::geteuid().as_raw();
        if !ours || metadata.mode() & 0o077 != 0 {
            return Err(KeysError::Owner(path, "0600"));
        }
        let pem =
            zeroize::Zeroizing::new(fs::read(&path).map_err(|error| KeysError::Io(path.clone(), error))?);
        let content = |reason: String| KeysError::Content(path.clone(), reason);
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| content(error.to_string()))?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let chain = chain.map_err(|error| content(error.to_string()))?;
        WorkloadCertificate::new(chain, key).map(Some).map_err(|error| content(error.to_string()))
    }

    /// Removes what was kept for a pod.
    pub fn remove(&self, pod: &PodUid) {
        let Ok(path) = self.path(pod) else { return };
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "cannot remove a key");
            }
            _removed => {}
        }
    }

    /// The pods that something is kept for, and leftovers of an interrupted write.
    pub fn pods(&self) -> Vec<PodUid> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let stem = |path: PathBuf| path.file_stem().and_then(|stem| stem.to_str()).map(PodUid::new);
        entries.filter_map(|entry| stem(entry.path())).collect()
    }

    fn path(&self, pod: &PodUid) -> Result<PathBuf, KeysError> {
        let text = pod.as_str();
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if text.is_empty() || text.len() > 128 || !plain {
            return Err(KeysError::Uid(pod.clone()));
        }
        Ok(self.directory.join(text).with_extension(EXTENSION))
    }
}

/// `noswap` keeps keys off a swap device, from Linux 6.4.
fn mount_tmpfs(directory: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let attempt = |data: &str| mount(Some("heddle-keys"), directory, Some("tmpfs"), flags, Some(data));
    attempt(&format!("{SIZE},noswap")).or_else(|_older_kernel| attempt(SIZE))?;
    Ok(())
}
