//! What `heddle status` shows of the control connection.

use serde::Serialize;

use super::Kind;

/// State of the control connection; one writer, the control task.
#[derive(Clone, Debug, Default)]
pub struct ControlStatus {
    /// Whether a discovery stream is open.
    pub connected: bool,
    /// Why the last one could not be opened, or ended.
    pub error: String,
    /// Whether the configuration in force was read from disk and not confirmed since.
    pub from_disk: bool,
    types: [TypeStatus; Kind::ALL.len()],
}

/// State of one type.
#[derive(Clone, Debug, Default)]
pub(super) struct TypeStatus {
    pub(super) received: u64,
    pub(super) acked: u64,
    /// Of the last response that was answered; empty: it was applied.
    pub(super) error: String,
    /// Responses that wait for the datapath.
    pub(super) pending: usize,
    /// Whether anything was ever applied, now or before a restart.
    pub(super) known: bool,
}

/// The JSON of one type.
#[derive(Clone, Debug, Serialize)]
pub struct TypeReport {
    /// Its name.
    #[serde(skip)]
    pub name: &'static str,
    /// SYNCED, STALE or NACK.
    pub state: &'static str,
    /// Responses that came.
    pub sent: u64,
    /// Responses that were applied and acknowledged.
    pub acked: u64,
    /// Why the last response was refused.
    pub error: String,
}

impl ControlStatus {
    pub(super) fn of(&mut self, kind: Kind) -> &mut TypeStatus {
        &mut self.types[kind.index()]
    }

    /// One report per type, in order of application.
    pub fn types(&self) -> Vec<TypeReport> {
        let report = |kind: Kind| {
            let held = &self.types[kind.index()];
            let state = match held {
                TypeStatus { error, .. } if !error.is_empty() => "NACK",
                TypeStatus { pending: 0, known: true, .. } if self.connected => "SYNCED",
                _ => "STALE",
            };
            let TypeStatus { received: sent, acked, error, .. } = held.clone();
            TypeReport { name: kind.label(), state, sent, acked, error }
        };
        Kind::ALL.into_iter().map(report).collect()
    }
}
