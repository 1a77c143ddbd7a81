//! Who has an address: several may claim one while a pod's address passes to its successor.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Claims of addresses. The latest claimant has the address; when it lets go, the one before it has it again, so that
/// what is held depends on who claims and not on who came and went. An update does not change the order.
#[derive(Clone, Debug)]
pub(crate) struct Claims<V> {
    held: HashMap<IpAddr, Arc<V>>,
    /// Earlier claimants of a held address, the latest last; absent where there are none.
    waiting: HashMap<IpAddr, Vec<Arc<V>>>,
}

impl<V> Default for Claims<V> {
    fn default() -> Self {
        Self { held: HashMap::new(), waiting: HashMap::new() }
    }
}

impl<V> Claims<V> {
    /// Who has it.
    pub(crate) fn get(&self, address: IpAddr) -> Option<&Arc<V>> {
        self.held.get(&address.to_canonical())
    }

    /// Claims it, or updates the claim of which `same` is true.
    pub(crate) fn claim(&mut self, address: IpAddr, value: &Arc<V>, same: impl Fn(&V) -> bool) {
        let address = address.to_canonical();
        let Some(holder) = self.held.get_mut(&address) else {
            self.held.insert(address, Arc::clone(value));
            return;
        };
        if same(holder) {
            *holder = Arc::clone(value);
            return;
        }
        let waiting = self.waiting.entry(address).or_default();
        match waiting.iter_mut().find(|waiting| same(waiting)) {
            Some(earlier) => *earlier = Arc::clone(value),
            None => waiting.push(std::mem::replace(holder, Arc::clone(value))),
        }
    }

    /// Ends the claim of which `same` is true.
    pub(crate) fn release(&mut self, address: IpAddr, same: impl Fn(&V) -> bool) {
        let address = address.to_canonical();
        if self.held.get(&address).is_some_and(|holder| same(holder)) {
            match self.waiting.get_mut(&address).and_then(Vec::pop) {
                Some(earlier) => self.held.insert(address, earlier),
                None => self.held.remove(&address),
            };
        } else if let Some(waiting) = self.waiting.get_mut(&address) {
            waiting.retain(|waiting| !same(waiting));
        }
        if self.waiting.get(&address).is_some_and(Vec::is_empty) {
            self.waiting.remove(&address);
        }
    }
}
