//! Consistent hashing: the same key goes to the same endpoint, and few keys move when the endpoints change.
//!
//! Sources: Envoy `ring_hash_lb.cc` (ketama), `maglev_lb.cc`; hashes are XXH64, of an endpoint's address as text.

use std::fmt::Write;
use std::net::SocketAddr;

use twox_hash::XxHash64;

use crate::upstream::model::Ring;

/// Envoy's `minimum_ring_size`.
const RING: u64 = 1_024;
/// Envoy's `maximum_ring_size`.
const LARGEST_RING: u64 = 8 * 1_024 * 1_024;
/// Points of the least endpoint in a ring that is not larger than the other.
const STABLE_POINTS: u64 = 512;
const STABLE_RING: f64 = 262_144.0;
/// Envoy's default, and the largest that is built: a table of 5 million takes 20 MB.
const MAGLEV: u64 = 65_537;
const LARGEST_MAGLEV: u64 = 5_000_011;

/// The hash of what a request is spread by.
pub fn hash_key(bytes: &[u8]) -> u64 {
    XxHash64::oneshot(0, bytes)
}

/// Endpoints with their share of 1, spread over all hashes.
#[derive(Debug)]
pub(super) enum Spread {
    /// Sorted by hash.
    Ring(Vec<(u64, u32)>),
    /// By the rest of the hash.
    Maglev(Vec<u32>),
}

impl Spread {
    /// `members`: index, address, share; shares sum up to 1.
    pub(super) fn new(ring: Ring, members: &[(u32, SocketAddr, f64)]) -> Self {
        match ring {
            Ring::RingHash(0) => Self::Ring(ketama(RING, members)),
            Ring::RingHash(minimum) => Self::Ring(ketama(minimum.min(LARGEST_RING), members)),
            Ring::Maglev(0) => Self::Maglev(maglev(MAGLEV, members)),
            Ring::Maglev(size) => Self::Maglev(maglev(prime(size.min(LARGEST_MAGLEV)), members)),
        }
    }

    /// The endpoint of a hash; later attempts go elsewhere.
    pub(super) fn choose(&self, hash: u64, attempt: u64) -> Option<u32> {
        match self {
            Self::Ring(points) => {
                let at = points.partition_point(|(point, _)| *point < hash) as u64;
                let at = usize::try_from((at + attempt).checked_rem(points.len() as u64)?).ok()?;
                points.get(at).map(|(_, index)| *index)
            }
            Self::Maglev(table) => {
                let hash = if attempt == 0 { hash } else { hash ^ (u64::MAX - attempt + 1) };
                let at = usize::try_from(hash.checked_rem(table.len() as u64)?).ok()?;
                table.get(at).copied()
            }
        }
    }
}

fn ketama(minimum: u64, members: &[(u32, SocketAddr, f64)]) -> Vec<(u64, u32)> {
    let Some(least) = members.iter().map(|(_, _, share)| *share).min_by(f64::total_cmp) else {
        return Vec::new();
    };
    // Envoy divides the minimum by the number of endpoints: all of them lose points when one comes, and keys move between
    // those that stay. Here each has the same points however many there are, until the ring is large.
    let envoys = (least * minimum as f64).ceil() / least;
    let stable = (minimum.div_ceil(2).min(STABLE_POINTS) as f64 / least).min(STABLE_RING);
    let scale = envoys.max(stable).min(LARGEST_RING as f64);
    let mut points = Vec::with_capacity(scale.ceil() as usize);
    let (mut placed, mut wanted) = (0.0, 0.0);
    let mut key = String::new();
    for (index, address, share) in members {
        wanted += scale * share;
        let mut point = 0_u64;
        while placed < wanted {
            key.clear();
            // Writing to a String cannot fail.
            let _ = write!(key, "{address}_{point}");
            points.push((hash_key(key.as_bytes()), *index));
            point += 1;
            placed += 1.0;
        }
    }
    points.sort_unstable();
    points
}

struct Entry {
    index: u32,
    offset: u64,
    skip: u64,
    share: f64,
    target: f64,
    next: u64,
}

fn maglev(size: u64, members: &[(u32, SocketAddr, f64)]) -> Vec<u32> {
    const FREE: u32 = u32::MAX;
    let mut sorted: Vec<(String, u32, f64)> =
        members.iter().map(|(index, address, share)| (address.to_string(), *index, *share)).collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let entry = |(key, index, share): (String, u32, f64)| Entry {
        index,
        offset: XxHash64::oneshot(0, key.as_bytes()) % size,
        skip: XxHash64::oneshot(1, key.as_bytes()) % (size - 1) + 1,
        share,
        target: 0.0,
        next: 0,
    };
    let mut entries: Vec<Entry> =
        sorted.into_iter().filter(|(_, _, share)| *share > 0.0).map(entry).collect();
    let Some(most) = entries.iter().map(|entry| entry.share).max_by(f64::total_cmp) else {
        return Vec::new();
    };
    let mut table = vec![FREE; usize::try_from(size).unwrap_or(0)];
    let mut left = table.len();
    let mut round = 1.0;
    while left > 0 {
        for entry in &mut entries {
            // Whoever has a third of the greatest share comes every third round.
            if left == 0 || round * entry.share < entry.target {
                continue;
            }
            entry.target += most;
            loop {
                let place = usize::try_from((entry.offset + entry.skip * entry.next) % size).unwrap_or(0);
                entry.next += 1;
                if table[place] == FREE {
                    table[place] = entry.index;
                    left -= 1;
                    break;
                }
            }
        }
        round += 1.0;
    }
    table
}

/// The number itself, or the next prime: a table of another size would not be filled.
fn prime(at_least: u64) -> u64 {
    let is_prime =
        |number: u64| (2..).take_while(|part| part * part <= number).all(|part| !number.is_multiple_of(part));
    (at_least.max(3)..).find(|number| is_prime(*number)).unwrap_or(MAGLEV)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Six endpoints of equal shares, 127.0.0.1:90 to :95: those of Envoy's own tests.
    fn six() -> Vec<(u32, SocketAddr, f64)> {
        (0..6_u16).map(|at| (at.into(), SocketAddr::from(([127, 0, 0, 1], 90 + at)), 1.0 / 6.0)).collect()
    }

    #[test]
    fn points_lie_where_envoys_do() {
        let envoys = [
            (833_437_586_790_550_860, 4),
            (928_266_305_478_181_108, 2),
            (1_033_482_794_131_418_490, 0),
            (3_551_244_743_356_806_947, 5),
            (3_851_675_632_748_031_481, 3),
            (5_583_722_120_771_150_861, 1),
            (6_311_230_543_546_372_928, 1),
            (7_700_377_290_971_790_572, 3),
            (13_144_177_310_400_110_813, 5),
            (13_444_792_449_719_432_967, 2),
            (15_516_499_411_664_133_160, 4),
            (16_117_243_373_044_804_889, 0),
        ];
        let points = ketama(12, &six());
        assert!(envoys.iter().all(|point| points.contains(point)), "{points:?}");
        let ring = Spread::Ring(envoys.to_vec());
        for (hash, owner) in
            [(0, 4), (u64::MAX, 4), (3_551_244_743_356_806_947, 5), (3_551_244_743_356_806_948, 3)]
        {
            assert_eq!(ring.choose(hash, 0), Some(owner), "{hash}");
        }
    }

    #[test]
    fn the_table_is_envoys() {
        assert_eq!(maglev(7, &six()), [2, 4, 0, 1, 5, 0, 3]);
    }

    #[test]
    fn sizes_that_are_not_prime_become_so() {
        let sizes = [(1, 3), (3, 3), (4, 5), (65_536, 65_537), (65_537, 65_537), (5_000_011, 5_000_011)];
        assert!(sizes.iter().all(|(wanted, found)| prime(*wanted) == *found));
    }
}
