//! What is open at each port of the server, and how much there was at the most.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::{Value, json};

/// Of all ports.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meters(Arc<Mutex<HashMap<u16, Counts>>>);

#[derive(Debug, Default, Serialize)]
struct Counts {
    connections: Level,
    requests: Level,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Level {
    open: u64,
    most: u64,
    total: u64,
}

impl Level {
    fn enter(&mut self) {
        self.open += 1;
        self.total += 1;
        self.most = self.most.max(self.open);
    }
}

/// Something is open while this lives.
#[derive(Debug)]
pub(crate) struct Entered {
    meters: Meters,
    port: u16,
    level: fn(&mut Counts) -> &mut Level,
}

impl Meters {
    /// A connection.
    pub(crate) fn connection(&self, port: u16) -> Entered {
        self.enter(port, |counts| &mut counts.connections)
    }

    /// A request, until the head of its answer.
    pub(crate) fn request(&self, port: u16) -> Entered {
        self.enter(port, |counts| &mut counts.requests)
    }

    /// Of one port.
    pub(crate) fn read(&self, port: u16) -> Value {
        json!(self.counts().entry(port).or_default())
    }

    fn enter(&self, port: u16, level: fn(&mut Counts) -> &mut Level) -> Entered {
        level(self.counts().entry(port).or_default()).enter();
        Entered { meters: self.clone(), port, level }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<u16, Counts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        (self.level)(self.meters.counts().entry(self.port).or_default()).open -= 1;
    }
}
