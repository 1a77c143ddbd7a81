//! The node that the agent runs on, found out from inside of a container or beside it: file system, cgroups, kubelet, processes.
//!
//! ```text
//! processes: /proc ──► kubelet: which process it is ──► detect: cgroup2, bpffs, the kubelet's cgroup (options that say `auto`)
//!               └────► pods: whose process it is         └──► prober: the kubelet's cgroup, again after each of its restarts
//! ```
//!
//! The node is where the kubelet is: its mount and cgroup namespaces are the node's, whatever the first process of the machine has.

mod cgroup;
mod detect;
mod kubelet;
mod leave;
mod pods;
mod prober;
mod processes;
mod roots;

pub use detect::{Detected, Located, NodeError, Places, detect, locate};
pub use kubelet::Kubelet;
pub use leave::leave;
pub use prober::{Prober, keep};
pub use processes::Proc;
pub use roots::{NodeRoots, as_of_node};
