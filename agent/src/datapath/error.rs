//! Why the datapath cannot start.

use std::io;

/// Each says what a person can do about it.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// The kernel is too old, or built without something.
    #[error("this kernel ({release}) lacks {feature}; Linux {since} has it")]
    Missing {
        /// `uname -r`.
        release: String,
        /// What it lacks.
        feature: &'static str,
        /// The first version with it.
        since: &'static str,
    },
    /// The build has no eBPF object in it.
    #[error("no eBPF object in this binary: run cargo xtask build-ebpf, then build the agent again")]
    NoObject,
    /// One agent is enough.
    #[error("another agent runs on this node: it holds {0}")]
    Taken(String),
    /// The cgroup is not what it must be.
    #[error("{path}: {reason}")]
    Cgroup {
        /// As configured.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A system call was refused.
    #[error("{what}: {source}")]
    Kernel {
        /// What was being done.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The loader or the verifier refused the object or one of its programs.
    #[error("{program}: {reason}")]
    Program {
        /// Its name.
        program: String,
        /// The whole chain of reasons.
        reason: String,
    },
}

/// Says what was being done when the kernel refused.
pub(super) fn doing(what: impl Into<String>) -> impl FnOnce(io::Error) -> DatapathError {
    let what = what.into();
    |source| DatapathError::Kernel { what, source }
}

/// An error and everything that caused it, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
