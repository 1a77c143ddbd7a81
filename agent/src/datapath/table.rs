//! A kernel map with its key and value types.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use aya_obj::generated::bpf_cmd;
use heddle_abi::Plain;

use super::bpf;

/// Cheap to clone; every method is one system call.
pub(super) struct Table<K, V> {
    map: Arc<OwnedFd>,
    entry: PhantomData<fn(K) -> V>,
}

impl<K: Plain, V: Plain> Table<K, V> {
    /// Opens the map that the loader pinned.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { map: Arc::new(bpf::open_pin(path)?), entry: PhantomData })
    }

    /// A map that is not pinned.
    #[cfg(test)]
    pub(super) fn of(map: OwnedFd) -> Self {
        Self { map: Arc::new(map), entry: PhantomData }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &K) -> io::Result<Option<V>> {
        self.read(bpf_cmd::BPF_MAP_LOOKUP_ELEM, key)
    }

    /// Takes the value of a key out.
    pub(super) fn take(&self, key: &K) -> io::Result<Option<V>> {
        self.read(bpf_cmd::BPF_MAP_LOOKUP_AND_DELETE_ELEM, key)
    }

    /// Inserts or replaces.
    pub(super) fn put(&self, key: &K, value: &V) -> io::Result<()> {
        let value = (&raw const *value).cast_mut().cast();
        let key = (&raw const *key).cast();
        bpf::element(bpf_cmd::BPF_MAP_UPDATE_ELEM, self.map.as_fd(), key, value, 0).map_err(told)
    }

    /// As [`Self::put`], but an entry that is there already stays where it is: programs may be reading it.
    pub(super) fn keep(&self, key: &K, value: &V) -> io::Result<()>
    where
        V: PartialEq,
    {
        if self.get(key)?.as_ref() == Some(value) { Ok(()) } else { self.put(key, value) }
    }

    /// Removes; whether there was one.
    pub(super) fn remove(&self, key: &K) -> io::Result<bool> {
        let key = (&raw const *key).cast();
        found(bpf::element(bpf_cmd::BPF_MAP_DELETE_ELEM, self.map.as_fd(), key, std::ptr::null_mut(), 0))
    }

    /// All keys, at most `limit`; entries that come or go meanwhile may be missed.
    pub(super) fn keys(&self, limit: usize) -> io::Result<Vec<K>> {
        let mut keys: Vec<K> = Vec::new();
        while keys.len() < limit {
            let previous = keys.last().map_or(std::ptr::null(), |key| (&raw const *key).cast());
            let mut next = MaybeUninit::<K>::uninit();
            let command = bpf_cmd::BPF_MAP_GET_NEXT_KEY;
            if !found(bpf::element(command, self.map.as_fd(), previous, next.as_mut_ptr().cast(), 0))? {
                break;
            }
            // SAFETY: the kernel wrote a whole key, and every bit pattern is one (Plain).
            keys.push(unsafe { next.assume_init() });
        }
        Ok(keys)
    }

    fn read(&self, command: bpf_cmd, key: &K) -> io::Result<Option<V>> {
        let mut value = MaybeUninit::<V>::uninit();
        let key = (&raw const *key).cast();
        let found = found(bpf::element(command, self.map.as_fd(), key, value.as_mut_ptr().cast(), 0))?;
        // SAFETY: the kernel wrote a whole value, and every bit pattern is one (Plain).
        Ok(found.then(|| unsafe { value.assume_init() }))
    }
}

impl<K: Plain> Table<K, u64> {
    /// The sum over all CPUs, of a per-CPU map.
    pub(super) fn sum(&self, key: &K) -> io::Result<u64> {
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        let mut values = vec![0_u64; cpus];
        let (key, values_at) = ((&raw const *key).cast(), values.as_mut_ptr().cast());
        found(bpf::element(bpf_cmd::BPF_MAP_LOOKUP_ELEM, self.map.as_fd(), key, values_at, 0))?;
        Ok(values.iter().sum())
    }
}

fn found(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The kernel's word for a map without room is that of an argument list that is too long.
fn told(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::E2BIG) => io::Error::new(io::ErrorKind::StorageFull, "the kernel's map is full"),
        _ => error,
    }
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Self { map: self.map.clone(), entry: PhantomData }
    }
}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Table").field(&self.map).finish()
    }
}
