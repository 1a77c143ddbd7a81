//! Addresses, between the standard library's form and the kernel maps'.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use heddle_abi::{Address, Endpoint};

/// v4-mapped, as the maps hold it.
pub(super) fn address(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(v4) => Address::from_bytes(v4.to_ipv6_mapped().octets()),
        IpAddr::V6(v6) => Address::from_bytes(v6.octets()),
    }
}

/// With its port.
pub(super) fn endpoint(socket: SocketAddr) -> Endpoint {
    Endpoint::new(address(socket.ip()), socket.port())
}

/// A v4-mapped address comes out as IPv4.
pub(super) fn ip(address: &Address) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(address.to_bytes())).to_canonical()
}

/// With its port.
pub(super) fn socket_addr(endpoint: &Endpoint) -> SocketAddr {
    SocketAddr::new(ip(endpoint.address()), endpoint.port())
}

/// The first address of a family, or none.
pub(super) fn of_family(addresses: &[IpAddr], v4: bool) -> Address {
    addresses.iter().find(|ip| ip.is_ipv4() == v4).map_or(Address::ZERO, |ip| address(*ip))
}
