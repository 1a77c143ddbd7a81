//! The owner of certificates: one per enrolled pod of the node, from the pod's arrival to its end.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use heddle_core::identity::Identity;
use heddle_core::names::PodUid;
use heddle_core::snapshot::Snapshot;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::issue::{IssueError, Issued, issue};
use super::{Identities, KeyStore, WallClock, schedule};
use crate::control::{Backoff, Controller, random};
use crate::tls::{TrustBundle, WorkloadCertificate};

/// Requests at a time: a restarted node with a hundred pods must not be a burst.
const PARALLEL: usize = 8;
/// The wall clock is looked at this often at least: timers stand still while the machine is suspended.
const LOOK: Duration = Duration::from_secs(30);

/// What the renewal task needs to know.
#[derive(Debug)]
pub struct RenewalOptions {
    /// Who issues.
    pub controller: Controller,
    /// Lifetime to ask for.
    pub ttl: Duration,
    /// Where keys survive a restart.
    pub keys: KeyStore,
    /// Decides what is expired; the same as that of the identities.
    pub clock: WallClock,
}

/// The renewal task before it runs.
#[derive(Debug)]
pub struct Renewal {
    options: RenewalOptions,
    channel: Channel,
    identities: Arc<Identities>,
    /// What peers believe in, as far as it is known.
    roots: Option<TrustBundle>,
    wanted: BTreeMap<PodUid, Wanted>,
    requests: JoinSet<(PodUid, Identity, Result<Issued, IssueError>)>,
    /// Whether keys of pods that are gone were removed.
    swept: bool,
}

#[derive(Debug)]
struct Wanted {
    identity: Identity,
    due: SystemTime,
    backoff: Backoff,
    asking: bool,
}

impl Renewal {
    /// # Errors
    /// The controller's address is malformed.
    pub fn new(
        options: RenewalOptions,
        identities: Arc<Identities>,
    ) -> Result<Self, crate::control::ConnectError> {
        let channel = options.controller.connect_lazily()?;
        let (wanted, requests) = (BTreeMap::new(), JoinSet::new());
        Ok(Self { options, channel, identities, roots: None, wanted, requests, swept: false })
    }

    /// Keeps certificates current until told to stop; requests under way are then abandoned.
    pub async fn run(
        mut self,
        mut snapshots: watch::Receiver<Arc<Snapshot>>,
        mut roots: watch::Receiver<Option<TrustBundle>>,
        stop: CancellationToken,
    ) {
        loop {
            let latest = roots.borrow_and_update().clone();
            if latest != self.roots {
                self.trust(latest);
            }
            let snapshot = snapshots.borrow_and_update().clone();
            self.reconcile(&snapshot);
            loop {
                let wait = self.start_due();
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = snapshots.changed() => if changed.is_err() { return } else { break },
                    changed = roots.changed() => if changed.is_err() { return } else { break },
                    Some(Ok((pod, identity, result))) = self.requests.join_next() => {
                        self.answer(&pod, &identity, result);
                    }
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }

    /// Peers believe in other roots from now on. What none of them signed is of no use to anybody and is renewed at once; until then
    /// it stays, for peers that have not heard of it yet.
    fn trust(&mut self, roots: Option<TrustBundle>) {
        if let Some(roots) = &roots {
            self.identities.set_roots(roots);
        }
        self.roots = roots;
        let now = self.options.clock.now();
        for (pod, wanted) in &mut self.wanted {
            let held = self.identities.held(pod);
            if held.is_some_and(|held| !is_believed(self.roots.as_ref(), &held, now)) {
                tracing::info!(%pod, "the certificate is of another root: it is renewed");
                wanted.due = now;
            }
        }
    }

    /// Wants a certificate for each enrolled pod, and none for any other.
    fn reconcile(&mut self, snapshot: &Snapshot) {
        if snapshot.generation().0 == 0 {
            return; // nothing is known yet: what is on the tmpfs may be needed in a moment
        }
        let enrolled = || snapshot.locals().filter(|local| local.enrolled);
        let current: HashSet<(&PodUid, &Identity)> =
            enrolled().map(|local| (&local.pod_uid, &local.identity)).collect();
        let gone = |(pod, wanted): &(&PodUid, &Wanted)| !current.contains(&(*pod, &wanted.identity));
        let gone: Vec<PodUid> = self.wanted.iter().filter(gone).map(|(pod, _)| pod.clone()).collect();
        for pod in gone {
            self.wanted.remove(&pod);
            self.identities.remove(&pod);
            self.options.keys.remove(&pod);
        }
        for local in enrolled() {
            if !self.wanted.contains_key(&local.pod_uid) {
                self.want(&local.pod_uid, &local.identity);
            }
        }
        if !self.swept {
            self.swept = true;
            let kept = self.options.keys.pods();
            kept.iter()
                .filter(|pod| !self.wanted.contains_key(*pod))
                .for_each(|pod| self.options.keys.remove(pod));
        }
    }

    fn want(&mut self, pod: &PodUid, identity: &Identity) {
        let now = self.options.clock.now();
        let due = self.load(pod, identity, now).unwrap_or(now);
        let backoff = schedule::backoff(self.options.ttl);
        self.wanted.insert(pod.clone(), Wanted { identity: identity.clone(), due, backoff, asking: false });
    }

    /// Puts a key that survived a restart in force, and says when to renew it.
    fn load(&self, pod: &PodUid, identity: &Identity, now: SystemTime) -> Option<SystemTime> {
        let certificate = match self.options.keys.load(pod) {
            Ok(found) => found.filter(|held| held.identity == *identity && held.is_valid_at(now)),
            Err(error) => {
                tracing::warn!(%pod, %error, "a kept key is not used");
                None
            }
        };
        let Some(certificate) = certificate else {
            self.options.keys.remove(pod);
            return None;
        };
        let due = match is_believed(self.roots.as_ref(), &certificate, now) {
            true => schedule::after_load(now, (certificate.not_before, certificate.not_after), random()),
            false => now,
        };
        match self.identities.install(pod, certificate) {
            Ok(()) => Some(due),
            Err(error) => {
                tracing::warn!(%pod, %error, "a kept key is not used");
                None
            }
        }
    }

    /// Asks for what is due, pods without a valid certificate first; returns how long nothing else is due.
    fn start_due(&mut self) -> Duration {
        let now = self.options.clock.now();
        let longest = schedule::longest_wait(self.options.ttl);
        let mut due = Vec::new();
        let mut wait = LOOK;
        for (pod, wanted) in self.wanted.iter_mut().filter(|(_, wanted)| !wanted.asking) {
            let valid = self.identities.held(pod).is_some_and(|held| held.is_valid_at(now));
            if !valid {
                wanted.due = wanted.due.min(now + longest); // also after the clock was set back
            }
            match wanted.due.duration_since(now) {
                Ok(left) if !left.is_zero() => wait = wait.min(left),
                _ => due.push((valid, pod.clone())),
            }
        }
        due.sort();
        let room = PARALLEL.saturating_sub(self.requests.len());
        for (_, pod) in due.into_iter().take(room) {
            self.ask(pod, now);
        }
        wait.max(Duration::from_millis(10))
    }

    fn ask(&mut self, pod: PodUid, now: SystemTime) {
        let Some(wanted) = self.wanted.get_mut(&pod) else { return };
        wanted.asking = true;
        let (channel, controller) = (self.channel.clone(), self.options.controller.clone());
        let (identity, ttl) = (wanted.identity.clone(), self.options.ttl);
        self.requests.spawn(async move {
            let result = issue(channel, &controller, (&pod, &identity), ttl, now).await;
            (pod, identity, result)
        });
    }

    fn answer(&mut self, pod: &PodUid, identity: &Identity, result: Result<Issued, IssueError>) {
        let Some(wanted) = self.wanted.get_mut(pod).filter(|wanted| wanted.identity == *identity) else {
            return; // the pod left while we asked
        };
        wanted.asking = false;
        let now = self.options.clock.now();
        let installed = result.map_err(|error| error.to_string()).and_then(|issued| {
            let Issued { certificate, key_pem, chain_pem } = issued;
            let not_after = certificate.not_after;
            self.identities.install(pod, certificate).map_err(|error| error.to_string())?;
            if let Err(error) = self.options.keys.save(pod, &key_pem, &chain_pem) {
                tracing::warn!(%pod, %error, "a key is kept in memory only: it will not survive a restart");
            }
            Ok(not_after)
        });
        match installed {
            Ok(not_after) => {
                wanted.backoff.reset();
                wanted.due = schedule::after_issue(now, not_after, random());
                tracing::info!(%pod, %identity, "certificate issued");
            }
            Err(error) => {
                let wait = wanted.backoff.wait(random());
                wanted.due = now + wait;
                let in_force = self.identities.held(pod).is_some_and(|held| held.is_valid_at(now));
                tracing::warn!(%pod, %identity, error, retry_in = ?wait, in_force, "no new certificate");
                self.identities.failed(pod, error);
            }
        }
    }
}

/// Whether peers take a certificate; before roots are known there is nothing against it.
fn is_believed(roots: Option<&TrustBundle>, certificate: &WorkloadCertificate, now: SystemTime) -> bool {
    roots.is_none_or(|roots| roots.signs(certificate, now))
}
