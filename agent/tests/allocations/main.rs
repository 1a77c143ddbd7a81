//! What one request of a kept connection costs on the heap: in the client's agent, and in both.
//!
//! The sixteen of a GET in the client's agent, in their order. A block that a pool would keep costs less than the pool's own
//! bookkeeping: those of hyper's are reused by the allocator's thread cache.
//!
//! | bytes | what | why it is there |
//! |---|---|---|
//! | 40, 40 | hyper splits a head off its read buffer, once for the request and once for the response | names and values point into it, uncopied |
//! | 8192, 8192 | hyper's next read buffer, on either side | while a head is alive its buffer cannot be written |
//! | 7.7 k | the request's future | one box instead of copies from poll to poll |
//! | 824, 312, 80 | `Exchange`, `Route`, what ends with the response | they outlive the handler: the body goes on after it |
//! | 10 | the authority | `http::uri::Authority` owns its bytes |
//! | 36 | `x-request-id` | where the client sent none |
//! | 32, 520, 24 | the headers, for this try | a further try sends them again |
//! | 152 | the lease of the upstream connection | it goes with the response's body |
//! | 344, 224 | hyper's channels for the response and its body | between the task of the connection and the request |
#![allow(clippy::unwrap_used, clippy::panic, missing_debug_implementations)]

#[path = "../tunnel/authority.rs"]
#[allow(dead_code, missing_debug_implementations)]
mod authority;
#[allow(missing_debug_implementations)]
mod load;
#[path = "../tunnel/world.rs"]
#[allow(dead_code, missing_debug_implementations)]
mod world;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use heddle_core::workload::{Tunnel, Workload};
use load::{Grpc, Http1, grpc_app, http1_app};
use world::{SERVER, World, plain_workload};

struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is the system's allocator; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Requests that are counted.
const REQUESTS: u64 = 1000;

/// What a round of so many requests takes from the heap, for each.
fn each(requests: u64, mut round: impl FnMut()) -> u64 {
    (0..100).for_each(|_| round());
    let before = COUNT.load(Ordering::Relaxed);
    (0..REQUESTS / requests).for_each(|_| round());
    (COUNT.load(Ordering::Relaxed) - before) / (REQUESTS / requests * requests)
}

#[test]
fn a_request_costs_few_allocations() {
    let world = World::new();
    http1_app(&world);
    let mut through_both = Http1::new(&world, 1);
    let both = each(1, || through_both.round());
    world.change(|store| {
        store.put_workload(Workload { tunnel: Tunnel::None, ..plain_workload("server", &[SERVER]) });
    });
    let mut through_one = Http1::new(&world, 1);
    let one = each(1, || through_one.round());
    println!("{one} allocations a request in the client's agent, {both} in both and the tunnel");
    assert!(one <= 20 && both <= 48, "{one}, {both}");
}

/// For profilers: `LOAD=http1|grpc ROUNDS=n`, 16 requests at once.
#[test]
#[ignore = "measures nothing by itself"]
fn load() {
    let wanted = |name: &str| std::env::var(name).unwrap_or_default();
    let rounds = wanted("ROUNDS").parse().unwrap_or(1000);
    let world = World::new();
    if wanted("LOAD") == "grpc" {
        grpc_app(&world);
        let mut client = Grpc::new(&world, 16);
        (0..rounds).for_each(|_| client.round());
    } else {
        http1_app(&world);
        let mut client = Http1::new(&world, 16);
        (0..rounds).for_each(|_| client.round());
    }
}
