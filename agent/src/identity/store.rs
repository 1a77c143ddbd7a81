//! The certificates in use: what traffic asks at every new tunnel.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

use heddle_core::identity::Identity;
use heddle_core::names::PodUid;
use heddle_core::snapshot::Snapshot;
use rustls::{ClientConfig, ServerConfig};
use serde::Serialize;
use tokio::sync::watch;

use super::WallClock;
use crate::tls::{self, CertificateError, Credentials, TrustBundle, WorkloadCertificate};

/// Peers whose configuration is kept per pod; more start anew.
const PEERS: usize = 512;

/// Certificates by pod. Reads take a lock for a look-up; only the renewal task writes.
#[derive(Debug)]
pub struct Identities {
    clock: WallClock,
    state: RwLock<State>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    roots: Option<TrustBundle>,
    pods: HashMap<PodUid, Arc<Entry>>,
    errors: HashMap<PodUid, String>,
}

/// A certificate under one set of roots, with what was built from it.
#[derive(Debug)]
struct Entry {
    certificate: Arc<WorkloadCertificate>,
    roots: TrustBundle,
    server: Arc<ServerConfig>,
    clients: Mutex<HashMap<Identity, Arc<ClientConfig>>>,
}

/// What `heddle config certs` shows of one certificate; never a key.
#[derive(Clone, Debug, Serialize)]
pub struct CertificateReport {
    /// Whose.
    pub pod_uid: String,
    /// Its SPIFFE identity; empty where there is no certificate.
    pub identity: String,
    /// Serial number in hexadecimal; another one after each renewal.
    pub serial: String,
    /// Seconds since 1970.
    pub not_before: u64,
    /// Seconds since 1970.
    pub not_after: u64,
    /// VALID, EXPIRED, NOT_YET_VALID or MISSING.
    pub state: &'static str,
    /// Why the last attempt to get one failed; empty: it did not.
    pub error: String,
}

impl Identities {
    /// None yet.
    pub fn new(clock: WallClock) -> Arc<Self> {
        Arc::new(Self { clock, state: RwLock::default(), changes: watch::channel(0).0 })
    }

    /// Counts changes: of a certificate, or of the roots.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// How many certificates are in force.
    pub fn count(&self) -> usize {
        let now = self.clock.now();
        self.read().pods.values().filter(|entry| entry.certificate.is_valid_at(now)).count()
    }

    /// Whether each enrolled pod of the snapshot can prove its identity.
    pub fn cover(&self, snapshot: &Snapshot) -> bool {
        snapshot.locals().filter(|local| local.enrolled).all(|local| {
            self.valid(&local.pod_uid).is_some_and(|entry| entry.certificate.identity == local.identity)
        })
    }

    /// One line per pod, sorted by its UID.
    pub fn report(&self) -> Vec<CertificateReport> {
        let (now, state) = (self.clock.now(), self.read());
        let mut uids: Vec<&PodUid> = state.pods.keys().chain(state.errors.keys()).collect();
        uids.sort_unstable();
        uids.dedup();
        let report = |uid: &PodUid| {
            let certificate = state.pods.get(uid).map(|entry| &entry.certificate);
            CertificateReport {
                pod_uid: uid.to_string(),
                identity: certificate.map(|held| held.identity.to_string()).unwrap_or_default(),
                serial: certificate.map(|held| held.serial.to_string()).unwrap_or_default(),
                not_before: certificate.map_or(0, |held| seconds(held.not_before)),
                not_after: certificate.map_or(0, |held| seconds(held.not_after)),
                state: match certificate {
                    None => "MISSING",
                    Some(held) if held.not_after <= now => "EXPIRED",
                    Some(held) if held.not_before > now => "NOT_YET_VALID",
                    Some(_) => "VALID",
                },
                error: state.errors.get(uid).cloned().unwrap_or_default(),
            }
        };
        uids.into_iter().map(report).collect()
    }

    /// Trusts these from now on; handshakes under way finish under the old ones.
    pub(super) fn set_roots(&self, roots: &TrustBundle) {
        let mut state = self.write();
        for entry in state.pods.values_mut() {
            match Entry::new(Arc::clone(&entry.certificate), roots) {
                Ok(new) => *entry = Arc::new(new),
                Err(error) => tracing::warn!(%error, "a certificate does not fit the new roots"),
            }
        }
        state.roots = Some(roots.clone());
        drop(state);
        self.changed();
    }

    /// Puts a certificate in force. What cannot be used replaces nothing.
    pub(super) fn install(
        &self,
        pod: &PodUid,
        certificate: WorkloadCertificate,
    ) -> Result<(), CertificateError> {
        let mut state = self.write();
        let roots = state.roots.clone();
        let roots =
            roots.ok_or_else(|| CertificateError::Unusable("the mesh's roots are not known".into()))?;
        let entry = Entry::new(Arc::new(certificate), &roots)?;
        state.pods.insert(pod.clone(), Arc::new(entry));
        state.errors.remove(pod);
        drop(state);
        self.changed();
        Ok(())
    }

    /// Notes why the last attempt failed; the certificate in force stays.
    pub(super) fn failed(&self, pod: &PodUid, error: String) {
        self.write().errors.insert(pod.clone(), error);
    }

    /// Forgets a pod.
    pub(super) fn remove(&self, pod: &PodUid) {
        let mut state = self.write();
        state.errors.remove(pod);
        if state.pods.remove(pod).is_some() {
            drop(state);
            self.changed();
        }
    }

    /// The identity and the validity of what is held for a pod, valid now or not.
    pub(super) fn held(&self, pod: &PodUid) -> Option<Arc<WorkloadCertificate>> {
        self.read().pods.get(pod).map(|entry| Arc::clone(&entry.certificate))
    }

    fn valid(&self, pod: &PodUid) -> Option<Arc<Entry>> {
        let entry = self.read().pods.get(pod).cloned()?;
        entry.certificate.is_valid_at(self.clock.now()).then_some(entry)
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Credentials for Identities {
    fn server_config(&self, pod: &PodUid) -> Option<Arc<ServerConfig>> {
        self.valid(pod).map(|entry| Arc::clone(&entry.server))
    }

    fn client_config(&self, pod: &PodUid, expected: &Identity) -> Option<Arc<ClientConfig>> {
        self.valid(pod)?.client(expected)
    }

    fn not_after(&self, pod: &PodUid) -> Option<SystemTime> {
        self.valid(pod).map(|entry| entry.certificate.not_after)
    }
}

impl Entry {
    fn new(certificate: Arc<WorkloadCertificate>, roots: &TrustBundle) -> Result<Self, CertificateError> {
        let server = tls::server_config(&certificate, roots)?;
        Ok(Self { certificate, roots: roots.clone(), server, clients: Mutex::default() })
    }

    fn client(&self, expected: &Identity) -> Option<Arc<ClientConfig>> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = clients.get(expected) {
            return Some(Arc::clone(config));
        }
        let config = tls::client_config(&self.certificate, &self.roots, expected).ok()?;
        if clients.len() == PEERS {
            clients.clear();
        }
        clients.insert(expected.clone(), Arc::clone(&config));
        Some(config)
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
