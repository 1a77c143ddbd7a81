//! The kernel side, loaded and attached; or adopted from the agent before this one.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use aya::programs::{Program, ProgramError};
use aya::util::KernelVersion;
use aya::{Ebpf, EbpfLoader};
use aya_obj::generated::bpf_attach_type;

use super::attach::{self, Target};
use super::bpffs::Pins;
use super::cgroup::Cgroup;
use super::clsact;
use super::error::{DatapathError, chain, doing};
use super::inspect::{Inspector, ProgramView};
use super::maps::{self, Maps};
use super::{Sockets, features, object};
use crate::pod::{NetnsCookie, Pod};

/// Where the kernel objects go.
#[derive(Clone, Debug)]
pub struct DatapathOptions {
    /// Our own bpffs; mounted there if it is not one.
    pub bpffs: PathBuf,
    /// cgroup2 folder that contains every pod of the node, and the agent.
    pub cgroup: PathBuf,
    /// cgroup2 folder of the kubelet's own processes, whose probes reach a STRICT pod.
    pub prober_cgroup: Option<PathBuf>,
}

/// The kernel side; cheap to clone.
#[derive(Clone, Debug)]
pub struct Datapath {
    pub(super) kernel: Arc<Kernel>,
}

impl Datapath {
    /// Loads the programs. What an earlier agent left pinned is adopted: its maps are re-used, its links get the new
    /// programs without a gap.
    pub fn open(options: &DatapathOptions) -> Result<Self, DatapathError> {
        Ok(Self { kernel: Arc::new(Kernel::open(options)?) })
    }

    /// Per-connection services for the workers.
    pub fn sockets(&self) -> Sockets {
        let maps = &self.kernel.maps;
        Sockets { original: maps.orig_dst.clone(), marks: maps.agent_sockets.clone() }
    }

    /// The kubelet's cgroup is this one from now on.
    pub fn set_prober(&self, cgroup: &Path) -> Result<(), DatapathError> {
        let id = Cgroup::id_of(cgroup)?;
        self.kernel.maps.prober.put(&0, &id).map_err(doing("map PROBER"))
    }

    /// What `/bpf`, `/drops` and `/metrics` show.
    pub fn inspector(&self) -> Inspector {
        Inspector::new(self.kernel.clone())
    }
}

/// Programs that every node has once, at its cgroup. Capture comes last.
const AT_CGROUP: &[(&str, &str, bpf_attach_type)] = &[
    ("heddle_sockops", "sockops", bpf_attach_type::BPF_CGROUP_SOCK_OPS),
    ("heddle_peer4", "getpeername4", bpf_attach_type::BPF_CGROUP_INET4_GETPEERNAME),
    ("heddle_peer6", "getpeername6", bpf_attach_type::BPF_CGROUP_INET6_GETPEERNAME),
    ("heddle_bind4", "bind4", bpf_attach_type::BPF_CGROUP_INET4_BIND),
    ("heddle_bind6", "bind6", bpf_attach_type::BPF_CGROUP_INET6_BIND),
    ("heddle_connect4", "connect4", bpf_attach_type::BPF_CGROUP_INET4_CONNECT),
    ("heddle_connect6", "connect6", bpf_attach_type::BPF_CGROUP_INET6_CONNECT),
];

/// The first kernel with tcx links.
const TCX: KernelVersion = KernelVersion::new(6, 6, 0);

/// Loaded programs, open maps, and where both are pinned.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) pins: Pins,
    pub(super) maps: Maps,
    pub(super) programs: Vec<ProgramView>,
    /// Id of the agent's own cgroup.
    pub(super) own_cgroup: u64,
    lookup: OwnedFd,
    to_pod: OwnedFd,
    from_pod: OwnedFd,
    /// Linux 6.6 and later. Below, clsact filters do the same.
    pub(super) tcx: bool,
    /// Owns the programs; attaching a clsact filter needs it.
    object: Mutex<Ebpf>,
}

impl Kernel {
    fn open(options: &DatapathOptions) -> Result<Self, DatapathError> {
        features::require()?;
        let bytes = object::bytes().ok_or(DatapathError::NoObject)?;
        let cgroup = Cgroup::around_us(&options.cgroup)?;
        let prober = options.prober_cgroup.as_deref().map(Cgroup::id_of).transpose()?;
        let pins = Pins::prepare(&options.bpffs)?;
        let mut object = load(bytes, &pins)?;
        let maps = Maps::open(&pins.maps())?;
        // Before the programs run: what an earlier agent left may be another's by now.
        maps.prober.put(&0, &prober.unwrap_or(0)).map_err(doing("map PROBER"))?;
        for (name, pin, kind) in AT_CGROUP {
            let program = program_fd(&mut object, name)?;
            let target = Target::Cgroup(cgroup.folder.as_fd(), cgroup.id);
            attach::ensure(&pins.link(pin), program.as_fd(), target, *kind)
                .map_err(doing(format!("attach {name}")))?;
        }
        Ok(Self {
            own_cgroup: cgroup.own,
            maps,
            programs: ProgramView::all(&object),
            lookup: program_fd(&mut object, "heddle_lookup")?,
            to_pod: program_fd(&mut object, "heddle_to_pod")?,
            from_pod: program_fd(&mut object, "heddle_from_pod")?,
            tcx: KernelVersion::current().is_ok_and(|version| version >= TCX),
            object: Mutex::new(object),
            pins,
        })
    }

    /// The guard stands at the pod's veth, in both directions.
    pub(super) fn attach_guard(&self, ifindex: u32) -> Result<(), DatapathError> {
        let failed = |_: ()| doing(format!("guard at interface {ifindex}"));
        if !self.tcx {
            let mut object = self.object.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            return clsact::attach(&mut object, ifindex);
        }
        let target = Target::Interface(ifindex);
        let (to, from) = guard_pins(ifindex);
        let (egress, ingress) = (bpf_attach_type::BPF_TCX_EGRESS, bpf_attach_type::BPF_TCX_INGRESS);
        attach::ensure(&self.pins.link(&to), self.to_pod.as_fd(), target, egress).map_err(failed(()))?;
        attach::ensure(&self.pins.link(&from), self.from_pod.as_fd(), target, ingress).map_err(failed(()))
    }

    /// The guard leaves.
    pub(super) fn detach_guard(&self, ifindex: u32) -> Result<(), DatapathError> {
        if !self.tcx {
            clsact::detach(ifindex);
        }
        let (to, from) = guard_pins(ifindex);
        for pin in [to, from] {
            attach::remove(&self.pins.link(&pin)).map_err(doing(format!("remove {pin}")))?;
        }
        Ok(())
    }

    /// New inbound connections of the pod are steered.
    pub(super) fn attach_lookup(&self, pod: &Pod) -> Result<(), DatapathError> {
        let failed = |_: ()| doing(format!("sk_lookup in the namespace of {pod}"));
        let namespace = pod.netns.try_clone().map(std::fs::File::from).map_err(failed(()))?;
        let inode = namespace.metadata().map_err(failed(()))?.ino();
        let target = Target::Netns(namespace.as_fd(), inode);
        let pin = self.pins.link(&lookup_pin(pod.cookie));
        attach::ensure(&pin, self.lookup.as_fd(), target, bpf_attach_type::BPF_SK_LOOKUP).map_err(failed(()))
    }

    /// The pod's own listeners are found again.
    pub(super) fn detach_lookup(&self, cookie: NetnsCookie) -> Result<(), DatapathError> {
        let pin = lookup_pin(cookie);
        attach::remove(&self.pins.link(&pin)).map_err(doing(format!("remove {pin}")))
    }
}

/// Pins of the links that every node has.
pub(super) fn node_links() -> impl Iterator<Item = &'static str> {
    AT_CGROUP.iter().map(|(_, pin, _)| *pin)
}

/// Pins of a guard's two links.
pub(super) fn guard_pins(ifindex: u32) -> (String, String) {
    (format!("guard-{ifindex}-to"), format!("guard-{ifindex}-from"))
}

/// Pin of a namespace's sk_lookup link.
pub(super) fn lookup_pin(cookie: NetnsCookie) -> String {
    format!("lookup-{cookie}")
}

fn load(bytes: &[u8], pins: &Pins) -> Result<Ebpf, DatapathError> {
    let refused = |program: &str, error: &dyn std::error::Error| DatapathError::Program {
        program: program.to_owned(),
        reason: chain(error),
    };
    let mut loader = EbpfLoader::new();
    for name in maps::NAMES {
        loader.map_pin_path(name, pins.maps().join(name));
    }
    let mut object = loader.load(bytes).map_err(|error| refused("eBPF object", &error))?;
    for (name, program) in object.programs_mut() {
        let loaded = match program {
            Program::CgroupSockAddr(program) => program.load(),
            Program::SockOps(program) => program.load(),
            Program::SkLookup(program) => program.load(),
            Program::SchedClassifier(program) => program.load(),
            _ => Err(ProgramError::UnexpectedProgramType),
        };
        loaded.map_err(|error| refused(name, &error))?;
    }
    Ok(object)
}

fn program_fd(object: &mut Ebpf, name: &str) -> Result<OwnedFd, DatapathError> {
    let missing = |reason: String| DatapathError::Program { program: name.to_owned(), reason };
    let program = object.program(name).ok_or_else(|| missing("not in the eBPF object".to_owned()))?;
    let fd = program.fd().map_err(|error| missing(chain(&error)))?;
    fd.as_fd().try_clone_to_owned().map_err(|error| missing(error.to_string()))
}
