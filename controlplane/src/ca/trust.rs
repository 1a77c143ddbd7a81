//! What signs now and what is trusted, and how one authority follows another without a failed handshake. Pure.
//!
//! A new root is trusted first and signs later, when it has reached every agent and every mounted ConfigMap. The one before
//! stays trusted until the last certificate that it signed has ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::signer::Signer;

/// One moment's trust.
#[derive(Debug)]
pub struct Trust {
    /// Signs.
    pub signer: Arc<Signer>,
    /// PEM of every trusted root, each by itself.
    pub roots: Vec<String>,
}

/// `None`: there is no authority yet, and nothing is served.
pub type LatestTrust = tokio::sync::watch::Receiver<Option<Arc<Trust>>>;

/// Waits for another. Of what will never change there is no news.
pub async fn changed(trust: &mut LatestTrust) {
    if trust.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

impl Trust {
    /// Of one signer that will not change.
    pub fn of(signer: Signer) -> Self {
        Self { roots: signer.roots(), signer: Arc::new(signer) }
    }

    /// All roots as one text.
    pub fn bundle(&self) -> String {
        self.roots.concat()
    }
}

/// Which signer comes after which.
#[derive(Debug)]
pub struct Succession {
    /// How long a root is trusted before it signs.
    overlap: Duration,
    /// How long a root is trusted after it signed: the longest life of a certificate.
    after: Duration,
    current: Option<Arc<Signer>>,
    next: Option<(Arc<Signer>, Instant)>,
    former: Vec<(String, Instant)>,
}

impl Succession {
    /// Nobody yet.
    pub fn new(overlap: Duration, after: Duration) -> Self {
        Self { overlap, after, current: None, next: None, former: Vec::new() }
    }

    /// Who signs.
    pub fn current(&self) -> Option<&Arc<Signer>> {
        self.current.as_ref()
    }

    /// What an earlier controller trusted, in place of what was said of that before.
    pub fn recall(&mut self, roots: Vec<(String, Duration)>, now: Instant) {
        self.former.clear();
        self.remember(roots, now);
    }

    /// Roots that are trusted for so long, though nobody signs by them any more.
    fn remember(&mut self, roots: Vec<(String, Duration)>, now: Instant) {
        self.former.extend(roots.into_iter().map(|(root, left)| (root, now + left)));
    }

    /// Every trusted root, and for how long; `None`: as long as it signs.
    pub fn roots(&self, now: Instant) -> Vec<(String, Option<Duration>)> {
        let Some(trust) = self.trust() else { return Vec::new() };
        let former = |root: &str| {
            let signs = self.current.iter().chain(self.next.iter().map(|(next, _)| next));
            if signs.into_iter().any(|signer| signer.roots().iter().any(|own| own == root)) {
                return None;
            }
            let until = self.former.iter().filter(|(former, _)| former == root).map(|(_, until)| *until);
            until.max().map(|until| until.saturating_duration_since(now))
        };
        trust.roots.iter().map(|root| (root.clone(), former(root))).collect()
    }

    /// This signer is there now. Says whether anything changes by it.
    pub fn offer(&mut self, signer: Signer, now: Instant) -> bool {
        let Some(current) = &self.current else {
            self.current = Some(Arc::new(signer));
            return true;
        };
        if current.is(&signer) {
            return self.next.take().is_some();
        }
        if self.next.as_ref().is_some_and(|(next, _)| next.is(&signer)) {
            return false;
        }
        // What everybody trusts already may sign at once.
        let trusted = current.roots();
        let known = signer.roots().iter().all(|root| trusted.contains(root));
        let due = if known { now } else { now + self.overlap };
        self.next = Some((Arc::new(signer), due));
        self.advance(now);
        true
    }

    /// What time does. Says whether anything changed.
    pub fn advance(&mut self, now: Instant) -> bool {
        let before = self.former.len();
        self.former.retain(|(_, until)| *until > now);
        let mut changed = self.former.len() != before;
        if let Some((next, _)) = self.next.take_if(|(_, due)| *due <= now) {
            if let Some(old) = self.current.replace(next) {
                let after = self.after;
                self.remember(old.roots().into_iter().map(|root| (root, after)).collect(), now);
            }
            changed = true;
        }
        changed
    }

    /// When time does something next.
    pub fn due(&self) -> Option<Instant> {
        self.next
            .as_ref()
            .map(|(_, due)| *due)
            .into_iter()
            .chain(self.former.iter().map(|(_, until)| *until))
            .min()
    }

    /// As of now: the signer's own roots first.
    pub fn trust(&self) -> Option<Trust> {
        let signer = self.current.clone()?;
        let next = self.next.iter().flat_map(|(next, _)| next.roots());
        let mut roots: Vec<String> = Vec::new();
        let former = self.former.iter().map(|(root, _)| root.clone());
        for root in signer.roots().into_iter().chain(next).chain(former) {
            if !roots.contains(&root) {
                roots.push(root);
            }
        }
        Some(Trust { signer, roots })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::ca::root;
    use time::OffsetDateTime;

    fn signer() -> Signer {
        let made = root::make("cluster.local").unwrap();
        Signer::load(made.material(), "cluster.local", OffsetDateTime::now_utc()).unwrap()
    }

    #[test]
    fn a_new_root_is_trusted_before_it_signs_and_the_old_one_until_its_last_certificate_has_ended() {
        let (overlap, after, start) = (Duration::from_secs(100), Duration::from_secs(1000), Instant::now());
        let mut succession = Succession::new(overlap, after);
        assert!(succession.trust().is_none());
        let (first, second) = (signer(), signer());
        let (old, new) = (first.roots()[0].clone(), second.roots()[0].clone());
        assert!(succession.offer(first, start));
        assert_eq!(succession.trust().unwrap().roots, std::slice::from_ref(&old));

        assert!(succession.offer(second, start));
        let trust = succession.trust().unwrap();
        assert_eq!(
            (trust.roots.clone(), trust.signer.roots()),
            (vec![old.clone(), new.clone()], vec![old.clone()])
        );
        assert_eq!(succession.due(), Some(start + overlap));
        assert!(!succession.advance(start + Duration::from_secs(99)));

        assert!(succession.advance(start + overlap));
        let trust = succession.trust().unwrap();
        assert_eq!((trust.roots.clone(), trust.signer.roots()), (vec![new.clone(), old], vec![new.clone()]));
        assert!(!succession.advance(start + Duration::from_secs(1099)));
        assert!(succession.advance(start + overlap + after));
        assert_eq!(succession.trust().unwrap().roots, [new]);
        assert_eq!(succession.due(), None);
    }

    #[test]
    fn what_comes_back_before_its_successor_signs_stays() {
        let start = Instant::now();
        let made = root::make("cluster.local").unwrap();
        let load = || Signer::load(made.material(), "cluster.local", OffsetDateTime::now_utc()).unwrap();
        let mut succession = Succession::new(Duration::from_secs(100), Duration::from_secs(1000));
        assert!(succession.offer(load(), start));
        assert!(!succession.offer(load(), start), "the same again is no news");
        assert!(succession.offer(signer(), start));
        assert!(succession.offer(load(), start));
        assert_eq!(succession.trust().unwrap().roots, load().roots());
    }
}
