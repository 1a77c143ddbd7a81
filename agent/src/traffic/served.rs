//! A pod as one worker serves it: what stops it, and how much of it is going on.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::pod::Pod;

/// One pod on one worker.
#[derive(Debug)]
pub struct Served {
    /// Who.
    pub pod: Arc<Pod>,
    /// Ends its accept loops: it stops, its listeners are replaced, or the worker drains.
    pub accepting: CancellationToken,
    /// Ends everything of it.
    pub stopped: CancellationToken,
    connections: Rc<Cell<usize>>,
    handshakes: Rc<Cell<usize>>,
}

impl Served {
    /// Begins to serve a pod, or, with `earlier`, goes on with another set of listeners.
    pub fn begin(pod: Arc<Pod>, draining: &CancellationToken, earlier: Option<&Self>) -> Rc<Self> {
        let accepting = draining.child_token();
        let Some(earlier) = earlier.filter(|earlier| earlier.pod.cookie == pod.cookie) else {
            let stopped = CancellationToken::new();
            return Rc::new(Self {
                pod,
                accepting,
                stopped,
                connections: Rc::default(),
                handshakes: Rc::default(),
            });
        };
        Rc::new(Self {
            pod,
            accepting,
            stopped: earlier.stopped.clone(),
            connections: earlier.connections.clone(),
            handshakes: earlier.handshakes.clone(),
        })
    }

    /// Room for one more connection, of `most`.
    pub fn admit(&self, most: usize) -> Option<Place> {
        Place::take(&self.connections, most)
    }

    /// Room for one more handshake, of `most`.
    pub fn handshake(&self, most: usize) -> Option<Place> {
        Place::take(&self.handshakes, most)
    }
}

/// Room for one; given back when dropped.
#[derive(Debug)]
pub struct Place(Rc<Cell<usize>>);

impl Place {
    fn take(taken: &Rc<Cell<usize>>, most: usize) -> Option<Self> {
        if taken.get() >= most {
            return None;
        }
        taken.set(taken.get() + 1);
        Some(Self(taken.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
