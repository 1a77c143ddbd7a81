//! What the datapath needs of the kernel, asked of the kernel itself and not of its version.

use aya::programs::ProgramType;
use aya::sys::is_helper_supported;
use aya_obj::generated::bpf_func_id;

use super::error::DatapathError;
use super::netns;

/// Something that this kernel lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MissingFeature {
    /// What.
    pub feature: &'static str,
    /// The first version with it.
    pub since: &'static str,
}

/// Program type, helper, what for, and since when.
const HELPERS: &[(ProgramType, bpf_func_id, &str, &str)] = &[
    (
        ProgramType::CgroupSockAddr,
        bpf_func_id::BPF_FUNC_get_netns_cookie,
        "network namespace cookies in connect programs (bpf_get_netns_cookie in cgroup_sock_addr)",
        "5.7",
    ),
    (
        ProgramType::SockOps,
        bpf_func_id::BPF_FUNC_get_netns_cookie,
        "network namespace cookies in TCP events (bpf_get_netns_cookie in sock_ops)",
        "5.15",
    ),
    (
        ProgramType::CgroupSockAddr,
        bpf_func_id::BPF_FUNC_sk_storage_get,
        "socket storage in connect programs (bpf_sk_storage_get in cgroup_sock_addr)",
        "5.8",
    ),
    (
        ProgramType::SockOps,
        bpf_func_id::BPF_FUNC_sk_storage_get,
        "socket storage in TCP events (bpf_sk_storage_get in sock_ops)",
        "5.8",
    ),
    (
        ProgramType::SkLookup,
        bpf_func_id::BPF_FUNC_sk_assign,
        "programmable socket lookup (BPF_PROG_TYPE_SK_LOOKUP)",
        "5.9",
    ),
];

/// Everything that is missing; empty: the datapath can run. Needs the right to load programs.
pub fn missing() -> Vec<MissingFeature> {
    let mut missing = Vec::new();
    if netns::own_cookie().is_err() {
        let feature = "network namespace cookies of sockets (SO_NETNS_COOKIE)";
        missing.push(MissingFeature { feature, since: "5.14" });
    }
    for (program, helper, feature, since) in HELPERS {
        // A probe that fails proves nothing: loading the real program will tell.
        if matches!(is_helper_supported(*program, *helper), Ok(false)) {
            missing.push(MissingFeature { feature, since });
        }
    }
    missing
}

/// Refuses a kernel that lacks something, by its name.
pub(super) fn require() -> Result<(), DatapathError> {
    let Some(MissingFeature { feature, since }) = missing().first().copied() else { return Ok(()) };
    let release = nix::sys::utsname::uname()
        .map_or_else(|_| "unknown".to_owned(), |name| name.release().to_string_lossy().into_owned());
    Err(DatapathError::Missing { release, feature, since })
}
