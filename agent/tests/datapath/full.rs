//! A map of the kernel's that strangers fill, so that nothing of ours goes in.

use std::path::{Path, PathBuf};

use aya::Pod;
use aya::maps::{HashMap, Map, MapData};
use heddle_abi::{ABI_VERSION, GuardEntry, PodEntry};

use super::lab::Lab;

/// Entries that are of no pod.
pub(crate) struct Strangers {
    count: u32,
    remove: Box<dyn FnMut(u32)>,
}

/// Puts strangers into PODS or GUARDS until no more go in.
pub(crate) fn fill(lab: &Lab, map: &str) -> Strangers {
    let pin = lab.folder.path().join(format!("bpf/{ABI_VERSION}/maps/{map}"));
    match map {
        "PODS" => fill_with::<u64, { size_of::<PodEntry>() }>(&pin, u64::from),
        "GUARDS" => fill_with::<u32, { size_of::<GuardEntry>() }>(&pin, |key| key),
        other => panic!("nobody said what is in {other}"),
    }
}

fn fill_with<K: Pod, const SIZE: usize>(pin: &Path, key: fn(u32) -> K) -> Strangers {
    let pin: PathBuf = pin.to_owned();
    let mut map: HashMap<MapData, K, [u8; SIZE]> =
        Map::HashMap(MapData::from_pin(pin).unwrap()).try_into().unwrap();
    // Neither interfaces nor cookies count that far.
    let key = move |number: u32| key(u32::MAX - number);
    let mut count = 0;
    while map.insert(key(count), [0; SIZE], 0).is_ok() {
        count += 1;
    }
    assert!(count > 1000, "{count} went in");
    Strangers { count, remove: Box::new(move |number| map.remove(&key(number)).unwrap()) }
}

impl Strangers {
    pub(crate) fn leave(mut self) {
        (0..self.count).for_each(|number| (self.remove)(number));
    }
}
