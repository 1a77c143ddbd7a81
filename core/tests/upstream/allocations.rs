//! Choosing an endpoint, counting what is open and saying what came of it allocate nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Instant;

use heddle_core::upstream::model::*;
use heddle_core::upstream::*;

use crate::asking::*;
use crate::world::*;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is handed to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise about the layout is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: it came from `alloc` above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn a_choice_allocates_nothing() {
    let now = Instant::now();
    let policies = [
        balanced(Algorithm::RoundRobin),
        balanced(Algorithm::Random),
        TrafficPolicy::default(),
        hashing(Ring::RingHash(1_024)),
        hashing(Ring::Maglev(251)),
        with_outliers(TrafficPolicy::default(), 0),
    ];
    for weights in [&[1, 1, 1, 1], &[1, 2, 3, 4]] {
        for policy in &policies {
            let balancer = balancer(weighing(weights), policy.clone(), now);
            let mut numbers = Numbers(1);
            let tried = [balancer.host(0).address()];
            let state = balancer.state().clone();
            let mut request = |tried| {
                let context = PickContext { tried, ..at_random(&mut numbers, now) };
                let picked = balancer.pick(&context).unwrap();
                let _guards =
                    (picked.host.enter(), state.budget.try_request(now), state.budget.try_retry(now));
                state.health.report(&picked.host, Seen::Status(200), now);
            };
            request(&[]);
            let before = ALLOCATIONS.with(Cell::get);
            (0..1_000).for_each(|_| request(&[]));
            (0..1_000).for_each(|_| request(&tried));
            assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0, "{policy:?}");
        }
    }
}
