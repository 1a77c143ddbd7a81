//! The addresses that every sandbox uses, and the allocation of pod addresses on a node.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The wire's prefixes: 172.30.0.0/16 and fd00:172:30::/64.
pub const WIRE_PREFIX: (u8, u8) = (16, 64);
/// All pods: 10.244.0.0/16 and fd00:10:244::/48.
pub const POD_CIDRS: [&str; 2] = ["10.244.0.0/16", "fd00:10:244::/48"];
/// All ClusterIPs: 10.96.0.0/16 and fd00:10:96::/112.
pub const SERVICE_CIDRS: [&str; 2] = ["10.96.0.0/16", "fd00:10:96::/112"];
/// Where every node answers DNS.
pub const DNS: Pair =
    Pair { v4: Ipv4Addr::new(10, 96, 0, 10), v6: Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0xa) };
/// The controller's place on the wire.
pub const CONTROLLER: Pair =
    Pair { v4: Ipv4Addr::new(172, 30, 0, 2), v6: Ipv6Addr::new(0xfd00, 0x172, 0x30, 0, 0, 0, 0, 2) };
/// What a pod routes through: addresses that nobody owns, behind permanent neighbour entries.
pub const GATEWAY: Pair =
    Pair { v4: Ipv4Addr::new(169, 254, 1, 1), v6: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1) };

/// The largest node number: the third byte of a pod's address, and the node's last byte minus ten.
pub const MAX_NODES: u8 = 240;

/// One IPv4 and one IPv6 address of the same thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

impl Pair {
    pub fn both(self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}

/// Node N on the wire: 172.30.0.(10+N) and fd00:172:30::(10+N), the same digits in both.
pub fn node(number: u8) -> Pair {
    let last = 10 + number;
    Pair {
        v4: Ipv4Addr::new(172, 30, 0, last),
        v6: Ipv6Addr::new(0xfd00, 0x172, 0x30, 0, 0, 0, 0, same_digits(last)),
    }
}

/// The pod network of node N: 10.244.N.0/24 and fd00:10:244:N::/64.
pub fn pod_network(number: u8) -> (Pair, (u8, u8)) {
    (pod(number, 0), (24, 64))
}

fn pod(node: u8, host: u8) -> Pair {
    Pair {
        v4: Ipv4Addr::new(10, 244, node, host),
        v6: Ipv6Addr::new(0xfd00, 0x10, 0x244, same_digits(node), 0, 0, 0, host.into()),
    }
}

/// 11 → 0x11, so that a person sees the same number in both families.
fn same_digits(n: u8) -> u16 {
    let n = u16::from(n);
    ((n / 100) << 8) | ((n / 10 % 10) << 4) | (n % 10)
}

/// A fixed, locally administered MAC for whatever owns `ip`; `side` tells the two ends of a veth apart.
pub fn mac(side: u8, ip: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = ip.octets();
    [0x02, side, a, b, c, d]
}

/// The pod addresses of one node. A released address goes to the end of the queue: it is used again only
/// after every other one, so that a late packet or a stale cache does not meet another pod.
#[derive(Debug)]
pub struct Allocator {
    node: u8,
    free: VecDeque<u8>,
}

impl Allocator {
    pub fn new(node: u8) -> Self {
        Self { node, free: (2..=254).collect() }
    }

    pub fn take(&mut self) -> Option<Pair> {
        self.free.pop_front().map(|host| pod(self.node, host))
    }

    pub fn release(&mut self, address: Pair) {
        let [_, _, node, host] = address.v4.octets();
        if node == self.node && !self.free.contains(&host) {
            self.free.push_back(host);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nodes_show_the_same_digits_in_both_families() {
        assert_eq!(node(1).v4.to_string(), "172.30.0.11");
        assert_eq!(node(1).v6.to_string(), "fd00:172:30::11");
        assert_eq!(pod_network(12).0.v6.to_string(), "fd00:10:244:12::");
    }

    #[test]
    fn a_released_address_is_reused_last() {
        let mut pool = Allocator::new(1);
        let first = pool.take().unwrap();
        assert_eq!(first.v4.to_string(), "10.244.1.2");
        assert_eq!(first.v6.to_string(), "fd00:10:244:1::2");
        pool.release(first);
        pool.release(first);
        let rest: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(rest.len(), 253);
        assert_eq!(rest.last(), Some(&first));
    }
}
