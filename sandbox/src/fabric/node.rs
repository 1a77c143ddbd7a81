//! A node: its network namespace on the wire, its cgroups and the pods' places in it.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::cgroup::Cgroup;

use super::address::{self, Allocator, Pair};
use super::netns::{End, Netlink, Route};
use super::pause::{Hold, Pause};
use super::sysctl;

/// One node of the sandbox.
#[derive(Debug)]
pub struct Node {
    name: String,
    address: Pair,
    cgroup: Cgroup,
    pause: Pause,
    links: Netlink,
    addresses: Mutex<Allocator>,
}

/// A pod's network: what holds it, where it is reached.
#[derive(Debug)]
pub struct Attachment {
    pub pause: Pause,
    pub address: Pair,
    pub mac: [u8; 6],
    pub host_index: u32,
    pub host_interface: String,
}

impl Node {
    pub(super) async fn start(number: u8, cgroup: Cgroup, sandbox: &str) -> io::Result<Self> {
        let name = format!("node-{number}");
        for part in ["agent", "kubelet", "host", "pods"] {
            cgroup.child(part).create()?;
        }
        let hold =
            Hold { hostname: name.clone(), cgroup: cgroup.path().to_owned(), sysctls: sysctl::router() };
        let pause = Pause::start(&format!("{sandbox}/{name}"), &hold).await?;
        let links = Netlink::open(&pause.netns()).await?;
        let addresses = Mutex::new(Allocator::new(number));
        Ok(Self { name, address: address::node(number), cgroup, pause, links, addresses })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn address(&self) -> Pair {
        self.address
    }

    /// The process that holds the node's namespaces.
    pub fn pid(&self) -> u32 {
        self.pause.pid()
    }

    pub fn netns(&self) -> PathBuf {
        self.pause.netns()
    }

    pub fn uts(&self) -> PathBuf {
        self.pause.uts()
    }

    /// `heddle-NAME/node-N`; below it agent, kubelet, host and pods.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    pub fn pod_cgroup(&self, uid: &str) -> Cgroup {
        self.cgroup.child("pods").child(uid)
    }

    /// A command that will run in the node's network namespace, in its cgroup `part`, on the host's files.
    pub fn command(&self, part: &str, program: &Path) -> tokio::process::Command {
        join(&self.netns(), self.cgroup.child(part).path(), program)
    }

    /// Makes a pod's network namespace and joins it to the node.
    pub async fn attach(&self, uid: &str, title: &str, hostname: &str) -> io::Result<Attachment> {
        let address = {
            let mut pool = self.addresses.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            pool.take().ok_or_else(|| io::Error::other(format!("{} has no free pod address", self.name)))?
        };
        match self.attach_at(uid, title, hostname, address).await {
            Ok(attachment) => Ok(attachment),
            Err(error) => {
                self.release(address);
                Err(error)
            }
        }
    }

    async fn attach_at(
        &self,
        uid: &str,
        title: &str,
        hostname: &str,
        address: Pair,
    ) -> io::Result<Attachment> {
        let cgroup = self.pod_cgroup(uid);
        cgroup.create()?;
        let hold =
            Hold { hostname: hostname.to_owned(), cgroup: cgroup.path().to_owned(), sysctls: sysctl::pod() };
        let pause = Pause::start(title, &hold).await?;
        let host_interface = interface_name(uid);
        let (host, pod) = (address::mac(1, address.v4), address::mac(0, address.v4));
        let near = End { name: &host_interface, mac: host };
        let host_index = self.links.add_veth(&near, &End { name: "eth0", mac: pod }, &pause.netns()).await?;
        let inside = Netlink::open(&pause.netns()).await?;
        let (outer, inner) =
            tokio::join!(self.route_to_pod(host_index, address, pod), configure_pod(&inside, address, host));
        outer?;
        inner?;
        Ok(Attachment { pause, address, mac: pod, host_index, host_interface })
    }

    async fn route_to_pod(&self, index: u32, pod: Pair, mac: [u8; 6]) -> io::Result<()> {
        for (ip, source) in pod.both().into_iter().zip(self.address.both()) {
            self.links.neighbour(index, ip, mac).await?;
            let to = (ip, full_prefix(ip));
            self.links.route(Route { to, dev: Some(index), via: None, source: Some(source) }).await?;
        }
        Ok(())
    }

    /// Takes the pod's network away: its interface at once, its namespace with the last process in it.
    pub async fn detach(&self, attachment: Attachment) -> io::Result<()> {
        let deleted = self.links.delete(attachment.host_index).await;
        attachment.pause.stop().await?;
        self.release(attachment.address);
        deleted
    }

    fn release(&self, address: Pair) {
        self.addresses.lock().unwrap_or_else(std::sync::PoisonError::into_inner).release(address);
    }

    pub(super) fn links(&self) -> &Netlink {
        &self.links
    }

    pub(super) async fn stop(self) -> io::Result<()> {
        self.pause.stop().await
    }
}

/// Returns the index of eth0.
async fn configure_pod(inside: &Netlink, address: Pair, gateway_mac: [u8; 6]) -> io::Result<u32> {
    inside.up(inside.index("lo").await?).await?;
    let eth0 = inside.index("eth0").await?;
    inside.up(eth0).await?;
    for (ip, gateway) in address.both().into_iter().zip(address::GATEWAY.both()) {
        inside.address(eth0, ip, full_prefix(ip)).await?;
        inside.neighbour(eth0, gateway, gateway_mac).await?;
        let to = (unspecified(ip), 0);
        inside.route(Route { to, dev: Some(eth0), via: Some(gateway), source: Some(ip) }).await?;
    }
    Ok(eth0)
}

/// A command in a network namespace and a cgroup, everything else as the sandbox's own process has it.
pub fn join(netns: &Path, cgroup: &Path, program: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("/proc/self/exe");
    command.args(["sandbox-node", "join"]).arg(netns).arg(cgroup).arg("--").arg(program);
    command
}

pub(super) fn full_prefix(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn unspecified(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn interface_name(uid: &str) -> String {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    format!("veth{:08x}", hasher.finish() as u32)
}
