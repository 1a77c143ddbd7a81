//! Addresses, endpoints and tuples as the maps store them.

/// An IP address in network order; IPv4 is v4-mapped, so that one key type serves both families.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// Words rather than bytes, for an alignment that the BPF target copies in four steps and not in sixteen.
    words: [u32; 4],
}

const MAPPED: u32 = 0xffff_u32.to_be();

impl Address {
    /// No address.
    pub const ZERO: Self = Self { words: [0; 4] };

    /// From an IPv4 address as the kernel holds it (network order in memory).
    #[inline(always)]
    pub const fn from_v4(word: u32) -> Self {
        Self { words: [0, 0, MAPPED, word] }
    }

    /// From an IPv6 address as the kernel holds it; a v4-mapped one is the same as its IPv4 address.
    #[inline(always)]
    pub const fn from_v6(words: [u32; 4]) -> Self {
        Self { words }
    }

    /// From 16 bytes in network order.
    pub const fn from_bytes(b: [u8; 16]) -> Self {
        Self {
            words: [
                u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
                u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
                u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
                u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
            ],
        }
    }

    /// 16 bytes in network order.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        for (chunk, word) in bytes.chunks_exact_mut(4).zip(self.words) {
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// The four words, as the kernel's contexts have them.
    #[inline(always)]
    pub const fn words(&self) -> [u32; 4] {
        self.words
    }

    /// The IPv4 word of a v4-mapped address.
    #[inline(always)]
    pub const fn v4_word(&self) -> u32 {
        self.words[3]
    }

    /// Whether it is v4-mapped.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == MAPPED
    }

    /// 127.0.0.0/8 or ::1.
    #[inline(always)]
    pub const fn is_loopback(&self) -> bool {
        if self.is_v4() {
            return u32::from_be(self.words[3]) >> 24 == 127;
        }
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == 0 && self.words[3] == 1u32.to_be()
    }

    /// 0.0.0.0 or ::.
    #[inline(always)]
    pub const fn is_unspecified(&self) -> bool {
        self.words[0] == 0
            && self.words[1] == 0
            && (self.words[2] == 0 || self.words[2] == MAPPED)
            && self.words[3] == 0
    }

    /// fe80::/10.
    #[inline(always)]
    pub const fn is_link_local_v6(&self) -> bool {
        u32::from_be(self.words[0]) >> 22 == 0x3fa
    }
}

/// Address and port.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    address: Address,
    /// Network order.
    port: u16,
    zero: u16,
}

impl Endpoint {
    /// No endpoint.
    pub const ZERO: Self = Self { address: Address::ZERO, port: 0, zero: 0 };

    /// `port` in host order.
    #[inline(always)]
    pub const fn new(address: Address, port: u16) -> Self {
        Self { address, port: port.to_be(), zero: 0 }
    }

    /// The address.
    #[inline(always)]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// The port, in host order.
    #[inline(always)]
    pub const fn port(&self) -> u16 {
        u16::from_be(self.port)
    }

    /// The port, in network order.
    #[inline(always)]
    pub const fn port_be(&self) -> u16 {
        self.port
    }
}

/// One direction of a flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    source: Endpoint,
    destination: Endpoint,
}

impl Tuple {
    /// From source to destination.
    #[inline(always)]
    pub const fn new(source: Endpoint, destination: Endpoint) -> Self {
        Self { source, destination }
    }

    /// Where it comes from.
    #[inline(always)]
    pub const fn source(&self) -> &Endpoint {
        &self.source
    }

    /// Where it goes.
    #[inline(always)]
    pub const fn destination(&self) -> &Endpoint {
        &self.destination
    }

    /// The other direction.
    #[inline(always)]
    pub const fn reversed(&self) -> Self {
        Self { source: self.destination, destination: self.source }
    }
}
