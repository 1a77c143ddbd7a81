//! Connections to one endpoint, of all pods of an identity and on all threads: how many there are, and who waits for one.
//!
//! Where a cluster may have no more of them, requests stand in line, first come, first served. Nothing here knows what a
//! connection is: whoever holds one that is idle is told that it is wanted, and lets go of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::upstream::budget::{Budget, BudgetGuard};

/// A pool of connections, by a number that nobody else has at the time.
pub type PoolId = usize;

/// Of one endpoint.
#[derive(Debug, Default)]
pub struct Places {
    open: AtomicU32,
    /// The length of the line, so that nobody takes the lock to see that it is empty.
    waiting: AtomicU32,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    tickets: u64,
    waiting: VecDeque<Waiting>,
    holders: Vec<(PoolId, Waker)>,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    pool: PoolId,
    called: bool,
    waker: Option<Waker>,
}

impl Places {
    /// How many connections there are.
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// A place for a connection, unless others wait for one. An endpoint without any may have one, whatever the bound says
    /// (Envoy, "circuit breaking": a host that was chosen has at least one connection).
    pub fn take(self: &Arc<Self>, budget: &Arc<Budget>, turn: Option<&Turn>) -> Option<Place> {
        if self.waiting.load(Ordering::Acquire) > 0 && self.line().first() != turn.map(|turn| turn.ticket) {
            return None;
        }
        let share = budget.try_connection();
        match share {
            Some(_) => drop(self.open.fetch_add(1, Ordering::Relaxed)),
            None => drop(self.open.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed).ok()?),
        }
        Some(Place { places: Arc::clone(self), share })
    }

    /// A place beyond every bound.
    pub fn take_anyway(self: &Arc<Self>) -> Place {
        self.open.fetch_add(1, Ordering::Relaxed);
        Place { places: Arc::clone(self), share: None }
    }

    /// Stands in line.
    pub fn join(self: &Arc<Self>, pool: PoolId) -> Turn {
        let mut line = self.line();
        line.tickets += 1;
        let ticket = line.tickets;
        line.waiting.push_back(Waiting { ticket, pool, called: false, waker: None });
        self.waiting.fetch_add(1, Ordering::Release);
        let holders = std::mem::take(&mut line.holders);
        drop(line);
        holders.into_iter().for_each(|(_, waker)| waker.wake());
        Turn { places: Arc::clone(self), ticket }
    }

    /// The pool of whoever is first in line.
    pub fn first(&self) -> Option<PoolId> {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.line().waiting.front().map(|first| first.pool)
    }

    /// How many wait on behalf of other pools.
    pub fn strangers(&self, pool: PoolId) -> usize {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return 0;
        }
        self.line().waiting.iter().filter(|waiting| waiting.pool != pool).count()
    }

    /// Ready when somebody of another pool has joined the line after ticket `since`; the latest ticket by then.
    pub fn poll_wanted(&self, cx: &Context<'_>, pool: PoolId, since: u64) -> Poll<u64> {
        let mut line = self.line();
        let newer = |waiting: &&Waiting| waiting.ticket > since && waiting.pool != pool;
        if let Some(latest) = line.waiting.iter().rev().find(newer) {
            return Poll::Ready(latest.ticket);
        }
        line.holders.retain(|(holder, _)| *holder != pool);
        line.holders.push((pool, cx.waker().clone()));
        Poll::Pending
    }

    /// Whoever is first may look again.
    fn call(&self) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            let waker = self.line().waiting.front_mut().and_then(|first| {
                first.called = true;
                first.waker.take()
            });
            waker.into_iter().for_each(Waker::wake);
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn first(&self) -> Option<u64> {
        self.waiting.front().map(|first| first.ticket)
    }
}

/// A connection counts while this lives.
#[derive(Debug)]
#[must_use]
pub struct Place {
    places: Arc<Places>,
    share: Option<BudgetGuard>,
}

impl Drop for Place {
    fn drop(&mut self) {
        // Before anybody is called who would find it taken.
        drop(self.share.take());
        self.places.open.fetch_sub(1, Ordering::Relaxed);
        self.places.call();
    }
}

/// A turn in the line, given up when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Turn {
    places: Arc<Places>,
    ticket: u64,
}

impl Turn {
    /// Ready once whenever it is first in line and a place may be free.
    pub fn poll_called(&self, cx: &Context<'_>) -> Poll<()> {
        let mut line = self.places.line();
        let own = line.waiting.iter_mut().find(|waiting| waiting.ticket == self.ticket);
        let Some(own) = own else { return Poll::Ready(()) };
        if std::mem::take(&mut own.called) {
            return Poll::Ready(());
        }
        own.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut line = self.places.line();
        line.waiting.retain(|waiting| waiting.ticket != self.ticket);
        drop(line);
        self.places.waiting.fetch_sub(1, Ordering::Release);
        // Whoever came behind may find a place that this one did not take.
        self.places.call();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::upstream::budget::BudgetLimits;

    fn bounded(connections: u32) -> (Arc<Places>, Arc<Budget>) {
        let budget = Arc::new(Budget::default());
        budget.configure(BudgetLimits { connections, ..BudgetLimits::default() });
        (Arc::default(), budget)
    }

    fn called(turn: &Turn) -> bool {
        turn.poll_called(&Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn an_endpoint_without_a_connection_may_have_one() {
        let (places, budget) = bounded(1);
        let elsewhere = budget.try_connection().unwrap();
        let one = places.take(&budget, None).unwrap();
        assert!(places.take(&budget, None).is_none(), "a second one is one too many");
        drop(elsewhere);
        let two = places.take(&budget, None).unwrap();
        assert_eq!(places.open(), 2);
        drop((one, two));
        assert_eq!((places.open(), budget.is_idle()), (0, true));
    }

    #[test]
    fn who_came_first_is_served_first() {
        let (places, budget) = bounded(1);
        let held = places.take(&budget, None).unwrap();
        let (first, second) = (places.join(1), places.join(2));
        assert!(!called(&first) && !called(&second));
        assert_eq!((places.first(), places.strangers(1)), (Some(1), 1));
        drop(held);
        assert!(called(&first) && !called(&second));
        assert!(places.take(&budget, None).is_none(), "who stands in no line");
        assert!(places.take(&budget, Some(&second)).is_none(), "who stands behind");
        let held = places.take(&budget, Some(&first)).unwrap();
        drop(first);
        assert!(called(&second), "whoever is first now looks for itself");
        assert!(places.take(&budget, Some(&second)).is_none());
        drop(held);
        assert!(called(&second));
        drop(second);
        assert!(places.take(&budget, None).is_some());
    }

    #[test]
    fn holders_hear_of_strangers_in_line() {
        let (places, _) = bounded(1);
        let wanted = |since| places.poll_wanted(&Context::from_waker(Waker::noop()), 1, since);
        let own = places.join(1);
        assert!(wanted(0).is_pending(), "its own are no strangers");
        let stranger = places.join(2);
        let heard = wanted(0);
        assert!(heard.is_ready());
        assert!(matches!(heard, Poll::Ready(latest) if wanted(latest).is_pending()), "once each");
        drop((own, stranger));
        assert_eq!(places.first(), None);
    }
}
