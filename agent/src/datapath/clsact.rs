//! The guard below Linux 6.6: filters of a clsact qdisc. They outlive the agent without a pin.

use std::io;

use aya::Ebpf;
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, qdisc_add_clsact, qdisc_detach_program,
};
use aya::programs::{SchedClassifier, TcAttachType, TcHandle};

use super::error::{DatapathError, chain};

/// Ours comes first; one filter per direction, always the same, so that a new agent replaces it in place.
const PRIORITY: u16 = 1;
const HANDLE: u32 = 0x4ed1;
const DIRECTIONS: [(TcAttachType, &str); 2] =
    [(TcAttachType::Egress, "heddle_to_pod"), (TcAttachType::Ingress, "heddle_from_pod")];

/// Puts the filters at an interface, or replaces their programs.
pub(super) fn attach(object: &mut Ebpf, ifindex: u32) -> Result<(), DatapathError> {
    let interface = interface(ifindex)?;
    // An error means that it is there already, or that attaching will say what is wrong.
    let _ = qdisc_add_clsact(&interface);
    for (direction, name) in DIRECTIONS {
        let refused = |reason: String| DatapathError::Program { program: name.to_owned(), reason };
        let program = object.program_mut(name).ok_or_else(|| refused("not in the eBPF object".to_owned()))?;
        let program: &mut SchedClassifier = program.try_into().map_err(|error| refused(chain(&error)))?;
        replace_or_add(program, &interface, direction).map_err(|error| refused(chain(&error)))?;
    }
    Ok(())
}

/// Removes the filters; an interface that is gone took them along.
pub(super) fn detach(ifindex: u32) {
    let Ok(interface) = interface(ifindex) else { return };
    for (direction, name) in DIRECTIONS {
        let _ = qdisc_detach_program(&interface, direction, name);
    }
}

/// Removes the filters of every interface of this network namespace. How many interfaces had some.
pub(super) fn detach_everywhere() -> usize {
    let Ok(interfaces) = nix::net::if_::if_nameindex() else { return 0 };
    let had = |interface: &&nix::net::if_::Interface| {
        let name = interface.name().to_string_lossy();
        let gone = DIRECTIONS.map(|(at, program)| qdisc_detach_program(&name, at, program).is_ok());
        gone.contains(&true)
    };
    interfaces.into_iter().filter(had).count()
}

fn replace_or_add(
    program: &mut SchedClassifier,
    interface: &str,
    direction: TcAttachType,
) -> Result<(), aya::programs::ProgramError> {
    let handle = TcHandle::from(HANDLE);
    let present = SchedClassifierLink::attached(interface, direction, PRIORITY, handle, None)?;
    let link = match program.attach_to_link(present) {
        Ok(link) => link,
        Err(_) => {
            let options = NlOptions { priority: PRIORITY, handle, ..NlOptions::default() };
            program.attach_with_options(interface, direction, TcAttachOptions::Netlink(options))?
        }
    };
    // The filter must outlive this process; dropping the link would remove it.
    let _outlives = std::mem::ManuallyDrop::new(program.take_link(link)?);
    Ok(())
}

fn interface(ifindex: u32) -> Result<String, DatapathError> {
    let name = nix::net::if_::if_indextoname(ifindex).map_err(io::Error::from);
    let name = name.map_err(super::error::doing(format!("interface {ifindex}")))?;
    Ok(name.to_string_lossy().into_owned())
}
