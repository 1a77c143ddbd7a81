//! `cargo xtask test kernels`: boots Debian's kernels under QEMU, and in each the agent captures connections, or says
//! which feature the kernel lacks.

mod archive;
mod boot;
mod image;
mod packages;

use std::fs;
use std::path::{Path, PathBuf};

use crate::binaries::{self, Profile};
use crate::failure::{During, Failure, Result};
use crate::setup::{self, Purpose};
use crate::tally::Tally;
use crate::workspace::target_dir;

/// One kernel of the matrix.
pub(crate) struct Kernel {
    /// What people call it: `6.1`, `newest`.
    pub(crate) series: &'static str,
    /// Regular expression over package names.
    pattern: &'static str,
    /// Where to look: `("-security", "bookworm-security main")` is below the mirror's address with that suffix.
    sources: &'static [(&'static str, &'static str)],
    /// Whether pods can be enrolled there; where not, the agent must say why.
    enrols: bool,
}

const MATRIX: [Kernel; 4] = [
    Kernel {
        series: "5.10",
        pattern: r"^linux-image-5\.10\..*-cloud-amd64$",
        sources: &[("", "bullseye main"), ("-security", "bullseye-security main")],
        enrols: false,
    },
    Kernel {
        series: "6.1",
        pattern: r"^linux-image-6\.1\..*-cloud-amd64$",
        sources: &[("", "bookworm main"), ("-security", "bookworm-security main")],
        enrols: true,
    },
    Kernel {
        series: "6.12",
        pattern: r"^linux-image-6\.12\..*-cloud-amd64$",
        sources: &[("", "trixie main"), ("-security", "trixie-security main")],
        enrols: true,
    },
    Kernel {
        series: "newest",
        pattern: r"^linux-image-[0-9].*-cloud-amd64$",
        sources: &[("", "trixie-backports main")],
        enrols: true,
    },
];

/// What runs in the guest: the agent, and the tests of its datapath.
struct Programs {
    agent: PathBuf,
    datapath: PathBuf,
}

/// Boots the kernels of these series, or all.
pub(crate) fn run(series: &[String]) -> Result<Tally> {
    if let Some(unknown) = series.iter().find(|name| !MATRIX.iter().any(|kernel| kernel.series == *name)) {
        let known = MATRIX.map(|kernel| kernel.series).join(", ");
        return Err(Failure::new(format!("no kernel {unknown}: there are {known}")));
    }
    setup::packages(&[Purpose::Kernels])?;
    let folder = target_dir().join("kernels");
    fs::create_dir_all(&folder).during(folder.display())?;
    let agent = binaries::build(Profile::Debug)?.join("heddle-agent");
    let programs = Programs {
        agent: image::stripped(&agent, &folder)?,
        datapath: image::stripped(&binaries::test_binary("heddle-agent", "datapath")?, &folder)?,
    };

    let mut tally = Tally::default();
    for kernel in
        MATRIX.iter().filter(|kernel| series.is_empty() || series.iter().any(|name| kernel.series == name))
    {
        tally.step(&format!("kernel {}", kernel.series), || check(kernel, &programs, &folder));
    }
    Ok(tally)
}

fn check(kernel: &Kernel, programs: &Programs, folder: &Path) -> Result {
    let unpacked = setup::locked(|| packages::ensure(kernel))?;
    eprintln!("   {}", unpacked.package);
    let initramfs = folder.join(format!("{}.cpio", kernel.series));
    fs::write(&initramfs, image::initramfs(&unpacked, programs)?).during(initramfs.display())?;
    let console = boot::boot(&unpacked.kernel, &initramfs)?;
    let lines: Vec<&str> = console
        .lines()
        .filter_map(|line| line.split_once("KERNEL-CHECK "))
        .map(|(_, rest)| rest.trim())
        .collect();
    for line in &lines {
        println!("   {line}");
    }
    judge(kernel, &lines).map_err(|failure| {
        let end: Vec<&str> = console.lines().rev().take(40).collect();
        let end: Vec<&str> = end.into_iter().rev().collect();
        Failure::new(format!("{failure}; the console ends with\n{}", end.join("\n")))
    })
}

/// The last word is `result enrolled` or `result refused: <feature>`.
fn judge(kernel: &Kernel, lines: &[&str]) -> Result {
    let result = lines
        .iter()
        .rev()
        .find_map(|line| line.strip_prefix("result "))
        .during("the check printed no result")?;
    match (kernel.enrols, result) {
        (true, "enrolled") => Ok(()),
        (false, refused) if refused.strip_prefix("refused: ").is_some_and(|feature| !feature.is_empty()) => {
            Ok(())
        }
        (true, other) => {
            Err(Failure::new(format!("this kernel can enrol pods, and the agent says: {other}")))
        }
        (false, other) => {
            Err(Failure::new(format!("wanted a refusal that names the missing feature, got: {other}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MATRIX, judge};

    #[test]
    fn an_old_kernel_must_be_refused_with_the_feature_that_it_lacks() {
        let [old, .., new] = &MATRIX;
        assert!(judge(old, &["result refused: bpf_get_netns_cookie in sock_ops"]).is_ok());
        assert!(judge(old, &["result refused: "]).is_err());
        assert!(judge(old, &["result enrolled"]).is_err());
        assert!(judge(new, &["program guard ok", "result enrolled"]).is_ok());
        assert!(judge(new, &["result refused: something"]).is_err());
        assert!(judge(new, &[]).is_err());
    }
}
