//! Every branch of the guard, by BPF_PROG_TEST_RUN: a frame in, a verdict and a counted reason out. Needs root.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use aya::maps::Map;
use aya::programs::{Program, SchedClassifier, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use heddle_abi::{
    Address, Egress, Endpoint, GuardEntry, MtlsMode, Plain, PortEntry, PortKey, Reason, Tuple, TupleEntry,
    Verdict,
};

use super::endpoint::address;
use super::object;
use super::table::Table;

/// Test runs come in by the loopback interface.
const IFINDEX: u32 = 1;
const POD: &str = "10.244.1.2";
const POD6: &str = "fd00::2";
const PEER: &str = "10.244.2.9";
const PEER6: &str = "fd00::9";
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

struct Guard {
    object: Ebpf,
    counters: Table<u32, u64>,
    guards: Table<u32, GuardEntry>,
}

impl Guard {
    fn new(mode: MtlsMode) -> Self {
        let mut object = EbpfLoader::new().load(object::bytes().expect("cargo xtask build-ebpf")).unwrap();
        for (_, program) in object.programs_mut() {
            if let Program::SchedClassifier(program) = program {
                program.load().unwrap();
            }
        }
        let guards: Table<u32, GuardEntry> = table(&object, "GUARDS");
        let ip = |text: &str| address(text.parse().unwrap());
        guards.put(&IFINDEX, &GuardEntry::new(IFINDEX, ip(POD), ip(POD6), mode)).unwrap();
        Self { counters: table(&object, "COUNTERS"), guards, object }
    }

    fn publish(&self, tuple: Tuple, verdict: Verdict) {
        let tuples: Table<Tuple, TupleEntry> = table(&self.object, "TUPLES");
        tuples.put(&tuple, &TupleEntry::new(verdict, 0)).unwrap();
    }

    /// Every counter, in the order of the reasons.
    fn counts(&self) -> Vec<u64> {
        Reason::ALL.iter().map(|reason| self.counters.sum(&(*reason as u32)).unwrap()).collect()
    }

    /// The reason for which a frame is dropped, if it is; exactly that counter must have moved.
    fn run(&mut self, program: &str, frame: &[u8]) -> Option<Reason> {
        let before = self.counts();
        let program: &mut SchedClassifier = self.object.program_mut(program).unwrap().try_into().unwrap();
        let run = program.test_run(TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() }).unwrap();
        let after = self.counts();
        let moved: Vec<Reason> =
            Reason::ALL.iter().copied().filter(|r| after[*r as usize] != before[*r as usize]).collect();
        match run.return_value.cast_signed() {
            -1 => assert_eq!(moved, [], "counted, but passed"),
            2 => assert_eq!(moved.len(), 1, "a drop has one reason: {moved:?}"),
            other => panic!("verdict {other}"),
        }
        moved.first().copied()
    }

    fn towards(&mut self, frame: &[u8]) -> Option<Reason> {
        self.run("heddle_to_pod", frame)
    }

    fn away(&mut self, frame: &[u8]) -> Option<Reason> {
        self.run("heddle_from_pod", frame)
    }
}

fn table<K: Plain, V: Plain>(object: &Ebpf, name: &str) -> Table<K, V> {
    let map = match object.map(name).unwrap() {
        Map::HashMap(map) | Map::LruHashMap(map) | Map::PerCpuArray(map) => map,
        other => panic!("{name} is {other:?}"),
    };
    Table::of(map.fd().as_fd().try_clone_to_owned().unwrap())
}

fn end(ip: &str, port: u16) -> Endpoint {
    Endpoint::new(address(ip.parse().unwrap()), port)
}

/// A frame of either family; `payload` begins with the transport header.
fn ip_frame(from: &str, to: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    let length = u16::try_from(payload.len()).unwrap();
    match (from.parse().unwrap(), to.parse().unwrap()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend((length + 20).to_be_bytes());
            frame.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
            frame.extend(from.octets());
            frame.extend(to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend(from.octets());
            frame.extend(to.octets());
        }
        _ => panic!("two families"),
    }
    frame.extend(payload);
    frame
}

fn tcp(from: &str, to: &str, port: u16, flags: u8) -> Vec<u8> {
    let mut header = vec![0; 20];
    header[..2].copy_from_slice(&40000_u16.to_be_bytes());
    header[2..4].copy_from_slice(&port.to_be_bytes());
    header[12] = 0x50;
    header[13] = flags;
    ip_frame(from, to, TCP, &header)
}

fn udp(from: &str, from_port: u16, to: &str, port: u16) -> Vec<u8> {
    let mut header = vec![0; 12];
    header[..2].copy_from_slice(&from_port.to_be_bytes());
    header[2..4].copy_from_slice(&port.to_be_bytes());
    ip_frame(from, to, UDP, &header)
}

fn icmp(from: &str, to: &str, protocol: u8, kind: u8) -> Vec<u8> {
    ip_frame(from, to, protocol, &[kind, 0, 0, 0, 0, 0, 0, 0])
}

/// A fragment that is not the first.
fn fragment(from: &str, to: &str) -> Vec<u8> {
    let mut frame = udp(from, 1, to, 2);
    frame[14 + 7] = 1;
    frame
}

const ARP: [u8; 42] = {
    let mut frame = [0; 42];
    frame[12] = 0x08;
    frame[13] = 0x06;
    frame
};

#[test]
fn a_pod_of_one_family_does_not_own_the_unspecified_address_of_the_other() {
    let mut guard = Guard::new(MtlsMode::Permissive);
    let entry = GuardEntry::new(IFINDEX, address(POD.parse().unwrap()), Address::ZERO, MtlsMode::Permissive);
    guard.guards.put(&IFINDEX, &entry).unwrap();
    assert_eq!(
        guard.towards(&icmp("::", "ff02::1:ff00:2", ICMP6, 135)),
        None,
        "the node looks for duplicates"
    );
    assert_eq!(guard.away(&icmp("::", "ff02::1:ff00:2", ICMP6, 135)), None, "and so does the pod");
    for frame in [udp("::", 1, PEER6, 53), tcp("::", PEER6, 80, ACK)] {
        assert_eq!(guard.away(&frame), Some(Reason::SpoofedSource));
    }
}

#[test]
fn towards_a_strict_pod_only_the_tunnel_replies_errors_and_discovery_pass() {
    let mut guard = Guard::new(MtlsMode::Strict);
    for (peer, pod) in [(PEER, POD), (PEER6, POD6)] {
        assert_eq!(guard.towards(&tcp(peer, pod, 15008, SYN)), None, "the tunnel");
        assert_eq!(guard.towards(&tcp(peer, pod, 8080, SYN)), Some(Reason::PlaintextToStrict), "plaintext");
        assert_eq!(guard.towards(&tcp(peer, pod, 8080, ACK)), None, "a live connection");
        assert_eq!(guard.towards(&tcp(peer, pod, 8080, SYN | ACK)), None, "an answer");
        assert_eq!(
            guard.towards(&udp(peer, 53, pod, 5000)),
            Some(Reason::UdpToStrict),
            "UDP that nobody asked for"
        );
        assert_eq!(guard.away(&udp(pod, 5000, peer, 53)), None, "a question");
        assert_eq!(guard.towards(&udp(peer, 53, pod, 5000)), None, "its answer");
        assert_eq!(
            guard.towards(&udp(peer, 54, pod, 5000)),
            Some(Reason::UdpToStrict),
            "another port's answer"
        );
        assert_eq!(
            guard.towards(&tcp(pod, pod, 15008, SYN)),
            Some(Reason::OwnSource),
            "the pod's own source"
        );
        assert_eq!(
            guard.towards(&ip_frame(peer, pod, 132, &[0; 12])),
            Some(Reason::ToUnknownProtocol),
            "SCTP"
        );
        assert_eq!(
            guard.towards(&ip_frame(peer, pod, TCP, &[0; 4])),
            Some(Reason::ToUnclassifiable),
            "cut short"
        );
    }
    assert_eq!(guard.towards(&icmp(PEER, POD, ICMP, 3)), None, "an error");
    assert_eq!(guard.towards(&icmp(PEER, POD, ICMP, 8)), Some(Reason::EchoToStrict), "an echo");
    assert_eq!(guard.towards(&icmp(PEER, POD, ICMP, 5)), Some(Reason::EchoToStrict), "a redirect");
    assert_eq!(guard.towards(&icmp(PEER6, POD6, ICMP6, 2)), None, "packet too big");
    assert_eq!(guard.towards(&icmp(PEER6, POD6, ICMP6, 135)), None, "neighbour discovery");
    assert_eq!(guard.towards(&icmp(PEER6, POD6, ICMP6, 128)), Some(Reason::EchoToStrict), "an echo");
    assert_eq!(guard.towards(&fragment(PEER, POD)), Some(Reason::FragmentToStrict), "a later fragment");
    assert_eq!(guard.towards(&ARP), None, "ARP");
    let mut tagged = ARP;
    tagged[13] = 0x99;
    assert_eq!(guard.towards(&tagged), Some(Reason::ToUnclassifiable), "neither ARP nor IP");
    guard.guards.remove(&IFINDEX).unwrap();
    assert_eq!(guard.towards(&ARP), Some(Reason::ToUnknownPod), "a guard without a pod is closed");
}

#[test]
fn a_probe_passes_by_its_tuple_and_a_port_by_its_own_mode() {
    let mut guard = Guard::new(MtlsMode::Strict);
    let probe = tcp(PEER, POD, 8080, SYN);
    guard.publish(Tuple::new(end(PEER, 40000), end(POD, 8080)), Verdict::Agent);
    assert_eq!(guard.towards(&probe), Some(Reason::PlaintextToStrict), "an agent's dial is no probe");
    guard.publish(Tuple::new(end(PEER, 40000), end(POD, 8080)), Verdict::Probe);
    assert_eq!(guard.towards(&probe), None);
    assert_eq!(guard.towards(&tcp(PEER, POD, 8081, SYN)), Some(Reason::PlaintextToStrict));
    let modes: Table<PortKey, PortEntry> = table(&guard.object, "PORT_MODES");
    for (port, mode) in [(9001, MtlsMode::Permissive), (9002, MtlsMode::Disable), (9003, MtlsMode::Strict)] {
        let key = PortKey::new(IFINDEX, port);
        modes.put(&key, &PortEntry::new(key, mode)).unwrap();
    }
    let another = PortEntry::new(PortKey::new(IFINDEX, 9001), MtlsMode::Permissive);
    modes.put(&PortKey::new(IFINDEX, 9004), &another).unwrap();
    assert_eq!(guard.towards(&tcp(PEER, POD, 9001, SYN)), None, "PERMISSIVE");
    assert_eq!(guard.towards(&udp(PEER, 1, POD, 9002)), None, "DISABLE");
    assert_eq!(guard.towards(&tcp(PEER, POD, 9003, SYN)), Some(Reason::PlaintextToStrict));
    assert_eq!(
        guard.towards(&tcp(PEER, POD, 9004, SYN)),
        Some(Reason::PlaintextToStrict),
        "an entry that is another port's"
    );
}

#[test]
fn a_pod_is_never_judged_by_the_entry_of_another_that_is_written_meanwhile() {
    const RUNS: u32 = 2_000_000;
    let mut guard = Guard::new(MtlsMode::Strict);
    let own = guard.guards.get(&IFINDEX).unwrap().unwrap();
    let other = IFINDEX + 1;
    let open = GuardEntry::new(other, address(POD6.parse().unwrap()), *own.v4(), MtlsMode::Permissive);
    let before = guard.counts();
    let (guards, done) = (guard.guards.clone(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // A replaced entry's memory is what the next put writes to.
            while !done.load(Ordering::Relaxed) {
                guards.put(&IFINDEX, &own).unwrap();
                guards.put(&other, &open.with(other, Egress::Open)).unwrap();
            }
        });
        let syn = tcp(PEER, POD, 8080, SYN);
        let program: &mut SchedClassifier =
            guard.object.program_mut("heddle_to_pod").unwrap().try_into().unwrap();
        for _ in 0..10 {
            let options = TestRunOptions { data_in: Some(&syn), repeat: RUNS / 10, ..TestRunOptions::new() };
            program.test_run(options).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    let counts = guard.counts();
    let counted = |reason| counts[reason as usize] - before[reason as usize];
    let refused = [Reason::PlaintextToStrict, Reason::ToUnsettled, Reason::ToUnknownPod].map(counted);
    assert_eq!(refused.iter().sum::<u64>(), u64::from(RUNS), "{refused:?}");
    assert!(refused[0] > u64::from(RUNS) / 2, "{refused:?}");
    guard.guards.put(&IFINDEX, &open).unwrap();
    assert_eq!(guard.towards(&ARP), Some(Reason::ToUnsettled), "another's entry");
    assert_eq!(guard.away(&ARP), Some(Reason::FromUnsettled), "another's entry");
}

#[test]
fn towards_a_permissive_pod_plaintext_passes_but_not_what_nothing_understands() {
    let mut guard = Guard::new(MtlsMode::Permissive);
    assert_eq!(guard.towards(&tcp(PEER, POD, 8080, SYN)), None);
    assert_eq!(guard.towards(&udp(PEER, 1, POD, 53)), None);
    assert_eq!(guard.towards(&icmp(PEER, POD, ICMP, 8)), None);
    assert_eq!(guard.towards(&fragment(PEER, POD)), None);
    assert_eq!(guard.towards(&tcp(POD, POD, 8080, SYN)), Some(Reason::OwnSource));
    assert_eq!(guard.towards(&ip_frame(PEER, POD, 47, &[0; 12])), Some(Reason::ToUnknownProtocol), "GRE");
    // Six extension headers are too many to look behind.
    let chain: Vec<u8> = [[60, 0, 0, 0, 0, 0, 0, 0]; 8].concat();
    assert_eq!(guard.towards(&ip_frame(PEER6, POD6, 60, &chain)), Some(Reason::ToUnclassifiable));
}

#[test]
fn an_open_guard_and_a_connect_from_before_let_a_syn_out_and_nothing_else_changes() {
    let mut guard = Guard::new(MtlsMode::Permissive);
    let (syn, tuple) = (tcp(POD, PEER, 80, SYN), Tuple::new(end(POD, 40000), end(PEER, 80)));
    let now = super::earlier::now().unwrap();
    let tuples: Table<Tuple, TupleEntry> = table(&guard.object, "TUPLES");
    for (until, passes) in [(0, true), (now + 60_000_000_000, true), (now - 1, false)] {
        tuples.put(&tuple, &TupleEntry::new(Verdict::Earlier, until)).unwrap();
        assert_eq!(guard.away(&syn), (!passes).then_some(Reason::UnpublishedSyn), "until {until}, now {now}");
    }
    let entry = guard.guards.get(&IFINDEX).unwrap().unwrap();
    guard.guards.put(&IFINDEX, &entry.with(IFINDEX, Egress::Open)).unwrap();
    assert_eq!(guard.away(&syn), None, "open");
    assert_eq!(guard.away(&tcp(PEER, PEER, 80, SYN)), Some(Reason::SpoofedSource), "open to the pod only");
}

#[test]
fn from_a_pod_only_its_own_addresses_and_published_connections_leave() {
    for mode in [MtlsMode::Permissive, MtlsMode::Strict] {
        let mut guard = Guard::new(mode);
        let strict = |reason| (mode == MtlsMode::Strict).then_some(reason);
        for (pod, peer) in [(POD, PEER), (POD6, PEER6)] {
            let syn = tcp(pod, peer, 15008, SYN);
            assert_eq!(guard.away(&syn), Some(Reason::UnpublishedSyn), "a raw SYN");
            guard.publish(Tuple::new(end(pod, 40000), end(peer, 15008)), Verdict::Probe);
            assert_eq!(guard.away(&syn), Some(Reason::UnpublishedSyn), "a probe does not leave a pod");
            guard.publish(Tuple::new(end(pod, 40000), end(peer, 15008)), Verdict::Agent);
            assert_eq!(guard.away(&syn), None, "the agent's dial");
            assert_eq!(guard.away(&tcp(pod, peer, 80, SYN | ACK)), None, "an answer");
            assert_eq!(guard.away(&tcp(peer, pod, 80, ACK)), Some(Reason::SpoofedSource), "another's source");
            assert_eq!(
                guard.away(&ip_frame(pod, peer, 4, &[0; 20])),
                Some(Reason::FromUnknownProtocol),
                "IPIP"
            );
            assert_eq!(guard.away(&ip_frame(pod, peer, UDP, &[0; 2])), Some(Reason::FromUnclassifiable));
        }
        assert_eq!(guard.away(&icmp(POD, PEER, ICMP, 3)), None, "an error");
        assert_eq!(guard.away(&icmp(POD, PEER, ICMP, 0)), strict(Reason::EchoFromStrict), "an echo's answer");
        assert_eq!(guard.away(&fragment(POD, PEER)), strict(Reason::FragmentFromStrict), "a later fragment");
        assert_eq!(guard.away(&icmp("fe80::1", "ff02::1", ICMP6, 136)), None, "link-local discovery");
        assert_eq!(guard.away(&icmp("::", "ff02::1", ICMP6, 135)), None, "address detection");
        assert_eq!(guard.away(&udp("fe80::1", 1, PEER6, 2)), Some(Reason::SpoofedSource), "link-local UDP");
        assert_eq!(guard.away(&ARP), None, "ARP");
        guard.guards.remove(&IFINDEX).unwrap();
        assert_eq!(guard.away(&ARP), Some(Reason::FromUnknownPod));
    }
}

#[test]
fn every_program_of_the_object_loads_and_carries_a_readable_name() {
    let mut object = EbpfLoader::new().load(object::bytes().expect("cargo xtask build-ebpf")).unwrap();
    let mut names = Vec::new();
    for (name, program) in object.programs_mut() {
        match program {
            Program::CgroupSockAddr(program) => program.load(),
            Program::SockOps(program) => program.load(),
            Program::SkLookup(program) => program.load(),
            Program::SchedClassifier(program) => program.load(),
            other => panic!("{name} is {:?}", other.prog_type()),
        }
        .unwrap();
        let info = program.info().unwrap();
        assert_eq!(info.name_as_str(), Some(name), "not cut short");
        let verified = info.verified_instruction_count().unwrap_or_default();
        assert!(verified < 20_000, "{name} costs the verifier {verified} instructions");
        names.push(format!("{name} {verified}"));
    }
    assert_eq!(names.len(), 10, "{names:?}");
    println!("{names:?}");
}
