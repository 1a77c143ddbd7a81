//! The layouts that both sides rely on.

use crate::{Address, Egress, Endpoint, GuardEntry, MtlsMode, PodEntry, PortEntry, PortKey, Reason, Sealed};
use crate::{SocketKey, Tuple};

#[test]
fn an_ipv4_address_is_stored_v4_mapped_in_network_order() {
    let address = Address::from_v4(u32::from_ne_bytes([10, 244, 1, 2]));
    assert_eq!(address.to_bytes(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 244, 1, 2]);
    assert!(address.is_v4());
    assert_eq!(Address::from_bytes(address.to_bytes()), address);
}

#[test]
fn loopback_unspecified_and_link_local_are_known_in_both_families() {
    let v6 = |bytes: [u8; 16]| Address::from_bytes(bytes);
    assert!(Address::from_v4(u32::from_ne_bytes([127, 9, 9, 9])).is_loopback());
    assert!(v6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]).is_loopback());
    assert!(Address::from_v4(0).is_unspecified() && Address::ZERO.is_unspecified());
    assert!(v6([0xfe, 0xbf, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]).is_link_local_v6());
    assert!(!v6([0xfe, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]).is_link_local_v6());
    assert!(!Address::from_v4(u32::from_ne_bytes([10, 0, 0, 1])).is_loopback());
}

#[test]
fn ports_are_in_network_order_at_the_offsets_that_the_kernel_side_reads() {
    let endpoint = Endpoint::new(Address::ZERO, 0x1234);
    assert_eq!(endpoint.port_be().to_ne_bytes(), [0x12, 0x34]);
    assert_eq!(endpoint.port(), 0x1234);
    assert_eq!(size_of::<Tuple>(), 2 * size_of::<Endpoint>());
    assert_eq!(SocketKey::new(7, endpoint).local().port(), 0x1234);
}

#[test]
fn a_reason_is_found_by_its_counter_and_none_lies_beyond() {
    for (index, reason) in Reason::ALL.iter().enumerate() {
        assert_eq!(*reason as usize, index);
        assert_eq!(Reason::from_number(index as u32), Some(*reason));
        assert!(!reason.name().is_empty() && !reason.direction().name().is_empty());
    }
    assert_eq!(Reason::from_number(Reason::COUNT as u32), None);
}

#[test]
fn a_sealed_value_is_of_its_own_key_and_no_mixture_of_two_is_of_either() {
    let ip = |last| Address::from_v4(u32::from_ne_bytes([10, 244, 1, last]));
    let strict = GuardEntry::new(7, ip(2), Address::ZERO, MtlsMode::Strict);
    let loose = GuardEntry::new(8, ip(3), Address::ZERO, MtlsMode::Permissive);
    assert!(strict.is_of(&7) && loose.is_of(&8) && !strict.is_of(&8) && !loose.is_of(&7));
    let opened = strict.with(7, Egress::Open);
    assert!(opened.is_of(&7) && opened.is_open() && opened.mode() == strict.mode());
    let words = |entry: &GuardEntry| -> [u64; 6] {
        // SAFETY: a value is made of integers without padding.
        unsafe { core::mem::transmute(*entry) }
    };
    for (a, b) in [(&strict, &loose), (&strict, &opened), (&opened, &loose)] {
        let (from, to) = (words(a), words(b));
        for mixture in 1..(1_u32 << 6) - 1 {
            let mixed: [u64; 6] =
                core::array::from_fn(|word| if mixture >> word & 1 == 0 { from[word] } else { to[word] });
            if mixed == from || mixed == to {
                continue;
            }
            // SAFETY: every bit pattern is a value.
            let mixed = unsafe { GuardEntry::copied(mixed.as_ptr().cast()) };
            assert!(!mixed.is_of(&7) && !mixed.is_of(&8), "{mixture:06b}");
        }
    }
    let pod = PodEntry::new(1 << 40, 4, 5, 6).at(1 << 40, ip(2), Address::ZERO);
    assert!(pod.is_of(&(1 << 40)) && !pod.is_of(&1));
    let (here, there) = (PortKey::new(7, 80), PortKey::new(7, 81));
    assert!(PortEntry::new(here, MtlsMode::Strict).is_of(&here));
    assert!(!PortEntry::new(here, MtlsMode::Strict).is_of(&there));
}
