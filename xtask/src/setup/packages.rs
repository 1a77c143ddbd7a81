//! Debian packages by purpose: only what lacks, named before it is installed, and no service started.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::failure::{During, Failure, Result};
use crate::process;

const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_ASIDE: &str = "/usr/sbin/policy-rc.d.before-heddle";
const POLICY_TEXT: &str =
    "#!/bin/sh\n# Put here by `cargo xtask setup` while it installs; safe to delete.\nexit 101\n";

/// What a package is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Build,
    Sandbox,
    Tests,
    Bench,
    Kernels,
    Dist,
}

impl Purpose {
    pub(crate) const ALL: [Self; 6] =
        [Self::Build, Self::Sandbox, Self::Tests, Self::Bench, Self::Kernels, Self::Dist];

    /// Pairs of a program, or of a file by its whole path, and the package that has it.
    fn programs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Build => &[("cc", "gcc"), ("c++", "g++"), ("make", "make")],
            Self::Sandbox => &[
                ("ip", "iproute2"),
                ("nft", "nftables"),
                ("bpftool", "bpftool"),
                ("tcpdump", "tcpdump"),
                ("curl", "curl"),
                ("nginx", "nginx-light"),
                ("busybox", "busybox-static"),
            ],
            Self::Tests => &[
                ("h2load", "nghttp2-client"),
                ("openssl", "openssl"),
                ("prometheus", "prometheus"),
                ("jq", "jq"),
                ("/usr/bin/python3", "python3"),
                ("/usr/lib/python3/dist-packages/grpc/__init__.py", "python3-grpcio"),
            ],
            Self::Bench => &[
                ("wrk", "wrk"),
                ("iperf3", "iperf3"),
                ("haproxy", "haproxy"),
                ("nginx", "nginx-light"),
                ("h2load", "nghttp2-client"),
                ("curl", "curl"),
                ("python3", "python3-venv"),
            ],
            Self::Kernels => &[
                ("qemu-system-x86_64", "qemu-system-x86"),
                ("busybox", "busybox-static"),
                ("xz", "xz-utils"),
                ("strip", "binutils"),
                ("ip", "iproute2"),
            ],
            Self::Dist => &[("strip", "binutils"), ("/etc/ssl/certs/ca-certificates.crt", "ca-certificates")],
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Build => "the build",
            Self::Sandbox => "the sandbox and the demo",
            Self::Tests => "the tests",
            Self::Bench => "the benchmarks",
            Self::Kernels => "the kernel tests",
            Self::Dist => "images",
        }
    }
}

/// The packages whose programs are not there.
pub(super) fn missing(purposes: &[Purpose]) -> BTreeSet<&'static str> {
    let programs = purposes.iter().flat_map(|purpose| purpose.programs());
    programs
        .filter(|(program, _)| match program.starts_with('/') {
            true => !Path::new(program).exists(),
            false => process::find_program(program).is_none(),
        })
        .map(|(_, package)| *package)
        .collect()
}

/// Installs them; refuses with the command to type where we may not.
pub(super) fn install(purposes: &[Purpose]) -> Result {
    let packages = missing(purposes);
    if packages.is_empty() {
        return Ok(());
    }
    for purpose in purposes {
        let wanted = missing(&[*purpose]);
        if !wanted.is_empty() {
            eprintln!("setup: Debian packages for {}: {}", purpose.word(), joined(&wanted));
        }
    }
    if !is_root() || process::find_program("apt-get").is_none() {
        let why = if is_root() { "there is no apt-get here" } else { "you are not root" };
        return Err(Failure::new(format!(
            "{why}, so setup installs nothing. Install these and try again:\n  apt-get install -y --no-install-recommends {}",
            joined(&packages)
        )));
    }
    let _held = ServicesHeld::hold()?;
    if packages.iter().any(|package| !has_candidate(package)) {
        eprintln!("setup: apt-get update");
        process::output(apt_get().arg("update"))?;
    }
    eprintln!("setup: apt-get install -y --no-install-recommends {}", joined(&packages));
    let install =
        || process::output(apt_get().args(["install", "-y", "--no-install-recommends"]).args(&packages));
    if install().is_err() {
        // Lists from before name versions that the archive no longer has.
        eprintln!("setup: apt-get update, and once more");
        process::output(apt_get().arg("update"))?;
        install()?;
    }
    let left = missing(purposes);
    if left.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(format!("installed, and yet there is no program of: {}", joined(&left))))
    }
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .args(["-q", "-o", "DPkg::Lock::Timeout=300"])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C");
    command
}

fn has_candidate(package: &str) -> bool {
    process::output(Command::new("apt-cache").args(["show", "--no-all-versions", package])).is_ok()
}

fn joined(packages: &BTreeSet<&str>) -> String {
    packages.iter().copied().collect::<Vec<_>>().join(" ")
}

/// Whether we may install and make namespaces.
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid takes no argument and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// While this lives, Debian's maintainer scripts start no service.
struct ServicesHeld;

impl ServicesHeld {
    fn hold() -> Result<Self> {
        release(); // what a killed setup left
        if Path::new(POLICY).exists() {
            fs::rename(POLICY, POLICY_ASIDE).during(POLICY)?;
        }
        let held = Self;
        fs::write(POLICY, POLICY_TEXT).during(POLICY)?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)).during(POLICY)?;
        Ok(held)
    }
}

impl Drop for ServicesHeld {
    fn drop(&mut self) {
        release();
    }
}

fn release() {
    if fs::read_to_string(POLICY).is_ok_and(|text| text == POLICY_TEXT) {
        let _ = fs::remove_file(POLICY);
    }
    if !Path::new(POLICY).exists() && Path::new(POLICY_ASIDE).exists() {
        let _ = fs::rename(POLICY_ASIDE, POLICY);
    }
}
