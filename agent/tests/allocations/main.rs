//! What one request of a kept connection costs on the heap of the client's agent.
#![allow(clippy::unwrap_used, clippy::panic, missing_debug_implementations)]

#[path = "../tunnel/authority.rs"]
#[allow(dead_code, missing_debug_implementations)]
mod authority;
#[path = "../tunnel/world.rs"]
#[allow(dead_code, missing_debug_implementations)]
mod world;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};

use heddle_core::workload::{Tunnel, Workload};
use world::{SERVER, World, address, plain_workload};

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

const REQUESTS: u64 = 1000;
/// 24 as measured: two heads in and out of hyper (names, values, maps), the record, the copy of the headers that another try
/// would need, and the boxed futures of the stages.
const BOUND: u64 = 30;

/// Client and application use the stack only: what is counted is the agent's.
fn exchange(stream: &mut TcpStream, buffer: &mut [u8; 4096]) {
    stream.write_all(b"GET /a/b?c HTTP/1.1\r\nHost: 10.244.2.2\r\nUser-Agent: test\r\n\r\n").unwrap();
    let mut read = 0;
    while !buffer[..read].ends_with(b"\r\n\r\nok") {
        read += stream.read(&mut buffer[read..]).unwrap();
    }
}

#[test]
fn a_request_costs_few_allocations() {
    let world = World::new();
    world.change(|store| {
        store.put_workload(Workload { tunnel: Tunnel::None, ..plain_workload("server", &[SERVER]) });
    });
    world.serve(80, |mut connection: TcpStream| {
        let (mut buffer, mut read) = ([0; 4096], 0);
        while let Ok(more) = connection.read(&mut buffer[read..]) {
            read += more;
            if more == 0 {
                return;
            }
            if buffer[..read].ends_with(b"\r\n\r\n") {
                connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
                read = 0;
            }
        }
    });
    let mut stream = world.connect(address(SERVER, 80));
    let mut buffer = [0; 4096];
    (0..100).for_each(|_| exchange(&mut stream, &mut buffer));
    let before = COUNT.load(Ordering::Relaxed);
    (0..REQUESTS).for_each(|_| exchange(&mut stream, &mut buffer));
    let each = (COUNT.load(Ordering::Relaxed) - before) / REQUESTS;
    println!("{each} allocations a request");
    assert!(each <= BOUND, "{each}");
}
