//! Keeps the cluster's authority: finds it in its Secret, makes it where there is none, and follows what becomes of it.
//!
//! A second root is never made while pods trust a first one, which a record of what is trusted tells after a restart too. A Secret that is broken, or one that somebody plugged in and took
//! away, changes nothing for a controller that runs: what was loaded signs on, and readiness says so. Our own is put back.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::record::{self, Record};
use super::root;
use super::secret::{self, Data, OWN, PLACES, Place};
use super::signer::Signer;
use super::trust::{Succession, Trust};
use crate::readiness::Readiness;
use crate::registry::cluster::Pace;
use crate::rights;

/// For one answer of the API server.
const PATIENCE: Duration = Duration::from_secs(10);
/// Key of what readiness is told.
const NOTE: &str = "certificate authority";

/// The task.
#[derive(Debug)]
pub struct Keeper {
    seat: Seat,
    succession: Succession,
    trust: watch::Sender<Option<Arc<Trust>>>,
    readiness: Readiness,
    pace: Pace,
    /// Where what is loaded came from, and as what.
    held: Option<(Place, Data)>,
    /// What an earlier controller trusted, once that is known.
    record: Option<Record>,
    /// What is trusted is to be recorded.
    unrecorded: bool,
    /// For so long a root is trusted after it signed.
    longest: Duration,
}

/// Where the keeper looks.
pub struct Seat {
    /// The way to the API server.
    pub client: Client,
    /// Part of every identity.
    pub trust_domain: String,
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seat").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

impl Keeper {
    /// `longest`: the longest life of a certificate.
    pub fn new(
        seat: Seat,
        trust: watch::Sender<Option<Arc<Trust>>>,
        readiness: Readiness,
        pace: Pace,
        longest: Duration,
    ) -> Self {
        readiness.wait(NOTE, "not loaded yet");
        let succession = Succession::new(pace.overlap, longest);
        let (held, record, unrecorded) = (None, None, false);
        Self { seat, succession, trust, readiness, pace, held, record, unrecorded, longest }
    }

    /// Looks until it is stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let mut trouble = self.look().await.err();
            if self.succession.advance(Instant::now()) {
                self.publish();
            }
            if self.unrecorded {
                trouble = self.write_record().await.err().or(trouble);
            }
            let serves = self.succession.current().is_some();
            match &trouble {
                None => self.readiness.clear(NOTE),
                Some(trouble) if serves => {
                    self.readiness.note(NOTE, &format!("{trouble}; what was loaded before signs on"));
                }
                Some(trouble) => self.readiness.block(NOTE, trouble),
            }
            let until_due = self.succession.due().map(|due| due.saturating_duration_since(Instant::now()));
            let pause = if serves { self.pace.longest } else { self.pace.confirm.min(self.pace.longest) };
            tokio::select! {
                () = tokio::time::sleep(until_due.map_or(pause, |due| due.min(pause))) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Takes what is there. What cannot be asked for may be there, so nothing further down the list counts then.
    async fn look(&mut self) -> Result<(), String> {
        if self.record.is_none() {
            self.recall().await?;
        }
        for place in PLACES {
            let Some(data) = self.read(place).await? else { continue };
            if self.held.as_ref().is_some_and(|(held, _)| rank(*held) < rank(place)) {
                break;
            }
            return self.take(place, data);
        }
        self.missing().await
    }

    /// What was trusted before this process began stays so for as long as there may be certificates of it.
    async fn recall(&mut self) -> Result<(), String> {
        let record = match self.read(record::PLACE).await? {
            Some(data) => Record::read(&data).map_err(|error| format!("{}: {error}", record::PLACE))?,
            None => Record::default(),
        };
        self.succession.recall(record.left(self.longest, SystemTime::now()), Instant::now());
        self.record = Some(record);
        Ok(())
    }

    async fn write_record(&mut self) -> Result<(), String> {
        let record = Record::of(self.succession.roots(Instant::now()), SystemTime::now());
        let applying = record::PLACE.apply(&self.seat.client, record.data()?);
        match tokio::time::timeout(PATIENCE, applying).await {
            Ok(applied) => applied.map_err(|error| told(record::PLACE, &error))?,
            Err(_elapsed) => {
                return Err(format!("{} cannot be written: no answer within {PATIENCE:?}", record::PLACE));
            }
        }
        self.unrecorded = false;
        Ok(())
    }

    async fn read(&self, place: Place) -> Result<Option<Data>, String> {
        let reading = tokio::time::timeout(PATIENCE, place.read(&self.seat.client)).await;
        match reading {
            Ok(Ok(data)) => Ok(data),
            Ok(Err(error)) => Err(told(place, &error)),
            Err(_elapsed) => Err(format!("{place} cannot be read: no answer within {PATIENCE:?}")),
        }
    }

    fn take(&mut self, place: Place, data: Data) -> Result<(), String> {
        if self.held.as_ref().is_some_and(|(held, old)| *held == place && *old == data) {
            return Ok(());
        }
        let signer = place.load(&data, &self.seat.trust_domain);
        let signer = signer.map_err(|error| format!("{place}, key {error}"))?;
        self.follow(place, &signer);
        self.held = Some((place, data));
        if self.succession.offer(signer, Instant::now()) {
            self.publish();
        }
        Ok(())
    }

    fn follow(&self, place: Place, signer: &Signer) {
        let ends = signer.ends();
        match self.held.as_ref().map(|(held, _)| *held) {
            None => tracing::info!(secret = %place, %ends, "certificate authority loaded"),
            Some(before) => {
                tracing::warn!(secret = %place, %before, %ends, "another certificate authority follows");
            }
        }
    }

    /// None of the Secrets is there, or only one that counts less than the one that was.
    async fn missing(&mut self) -> Result<(), String> {
        match self.held.take() {
            Some((place, data)) if place == OWN => {
                tracing::warn!(secret = %place, "was deleted, and is put back");
                let created = self.create(data.clone()).await;
                self.held = Some((place, data));
                created.map(drop)
            }
            Some((place, data)) => {
                self.held = Some((place, data));
                Err(format!("{place} is gone: put it back; after a restart it cannot be used any more"))
            }
            None if self.record.take_if(|record| !record.is_empty()).is_some() => Err(format!(
                "no Secret holds a certificate authority any more, and pods trust one: put it back; or delete {} to have another made, and restart every agent",
                record::PLACE
            )),
            None => {
                let made = root::make(&self.seat.trust_domain).map_err(|error| error.to_string())?;
                let data = secret::of(&made);
                if self.create(data.clone()).await? {
                    tracing::info!(secret = %OWN, "a root was made");
                    return self.take(OWN, data);
                }
                // Another controller was faster: its root is the mesh's.
                match self.read(OWN).await? {
                    Some(data) => self.take(OWN, data),
                    None => Err(format!("{OWN} came and went")),
                }
            }
        }
    }

    async fn create(&self, data: Data) -> Result<bool, String> {
        let creating = tokio::time::timeout(PATIENCE, OWN.create(&self.seat.client, data)).await;
        match creating {
            Ok(created) => created.map_err(|error| told(OWN, &error)),
            Err(_elapsed) => Err(format!("{OWN} cannot be made: no answer within {PATIENCE:?}")),
        }
    }

    fn publish(&mut self) {
        self.unrecorded = true;
        let Some(trust) = self.succession.trust() else { return };
        tracing::info!(roots = trust.roots.len(), ends = %trust.signer.ends(), "trust");
        self.trust.send_replace(Some(Arc::new(trust)));
    }
}

fn rank(place: Place) -> usize {
    PLACES.iter().position(|other| *other == place).unwrap_or(PLACES.len())
}

fn told(place: Place, error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => rights::lacking(&status.message),
        kube::Error::Api(status) => format!("{place}: {}", status.message),
        error => format!("{place}: {error}"),
    }
}
