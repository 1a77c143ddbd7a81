//! What all containers of a pod share: its network namespace, hostname, cgroup and files.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cgroup::Cgroup;
use crate::container::Mount;
use crate::fabric::address::Pair;
use crate::fabric::{Attachment, Layout, Node};

use super::{PodContext, files};

/// A pod's place on its node.
#[derive(Debug)]
pub struct PodSandbox {
    pub netns: PathBuf,
    pub uts: PathBuf,
    pub cgroup: Cgroup,
    pub directory: PathBuf,
    pub address: Pair,
    /// resolv.conf and the like, for every container.
    pub mounts: Vec<Mount>,
    /// None on the host's network.
    pub attachment: Option<Attachment>,
    node: Arc<Node>,
}

impl PodSandbox {
    /// Makes the network and the files, and tells `pod` its addresses.
    pub async fn create(node: &Arc<Node>, layout: &Layout, pod: &mut PodContext) -> io::Result<Self> {
        let cgroup = node.pod_cgroup(&pod.uid);
        cgroup.create()?;
        let (netns, uts, attachment, address) = if pod.host_network() {
            (node.netns(), node.uts(), None, node.address())
        } else {
            let title = format!("{}/{}", pod.namespace, pod.name);
            let attachment = node.attach(&pod.uid, &title, &pod.hostname()).await?;
            let address = attachment.address;
            (attachment.pause.netns(), attachment.pause.uts(), Some(attachment), address)
        };
        pod.address = Some(address);
        let directory = layout.pod(&pod.uid);
        let node = node.clone();
        let mut made = Self { netns, uts, cgroup, directory, address, mounts: Vec::new(), attachment, node };
        match files::write(&made.directory, pod) {
            Ok(mounts) => {
                made.mounts = mounts;
                Ok(made)
            }
            Err(error) => {
                made.destroy().await?;
                Err(error)
            }
        }
    }

    /// Takes the network and the cgroup away; the files stay, as the logs are among them.
    pub async fn destroy(self) -> io::Result<()> {
        if let Some(attachment) = self.attachment {
            self.node.detach(attachment).await?;
        }
        let cgroup = self.cgroup;
        tokio::task::spawn_blocking(move || cgroup.remove()).await.map_err(io::Error::other)?
    }
}
