//! Networks, as policies and the mesh's ranges write them.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    address: IpAddr,
    length: u8,
}

impl Cidr {
    /// `None` where the length exceeds the address's. Bits behind the length are dropped; a v4-mapped network of at
    /// least 96 bits is the v4 network.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let (address, length) = match (address, address.to_canonical()) {
            (IpAddr::V6(_), canonical @ IpAddr::V4(_)) if length >= 96 => (canonical, length - 96),
            (written, _) => (written, length),
        };
        let address = match address {
            IpAddr::V4(ip) if length <= 32 => IpAddr::V4((ip.to_bits() & mask4(length)).into()),
            IpAddr::V6(ip) if length <= 128 => IpAddr::V6((ip.to_bits() & mask6(length)).into()),
            _ => return None,
        };
        Some(Self { address, length })
    }

    /// Parses `10.0.0.0/8`; without a length, one address.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => most,
            // `parse` takes "+8" and "08"; nobody means that.
            Some(text) => text.parse().ok().filter(|length: &u8| length.to_string() == text)?,
        };
        Self::new(address, length)
    }

    /// Its first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits of it count.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Whether the address is inside; a v4-mapped one counts as v4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => net.to_bits() == ip.to_bits() & mask4(self.length),
            (IpAddr::V6(net), IpAddr::V6(ip)) => net.to_bits() == ip.to_bits() & mask6(self.length),
            _ => false,
        }
    }
}

impl TryFrom<String> for Cidr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no network"))
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

fn mask4(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

fn mask6(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}
