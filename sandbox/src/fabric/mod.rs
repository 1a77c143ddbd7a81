//! The sandbox's network: a wire, nodes on it, the controller's place, and pods behind the nodes.
//!
//! ```text
//!   pod eth0 ── veth… ┐ node-1 (router) eth0 ── n1 ┐
//!   pod eth0 ── veth… ┘                            ├ br0 (namespace "wire") ── ctl ── eth0 controller
//!   pod eth0 ── veth… ─ node-2 (router) eth0 ── n2 ┘
//! ```

pub mod address;
mod layout;
pub mod netns;
mod node;
pub mod pause;
mod sysctl;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::{join_all, try_join_all};
use serde_json::json;

use crate::cgroup::Cgroup;

use address::Pair;
use netns::{End, Netlink, Route};
use pause::{Hold, Pause};

pub use layout::Layout;
pub use node::{Attachment, Node, join};

/// The namespaces of a sandbox, but for its pods.
#[derive(Debug)]
pub struct Fabric {
    layout: Layout,
    cgroup: Cgroup,
    wire: Pause,
    controller: Pause,
    nodes: Vec<Arc<Node>>,
}

impl Fabric {
    /// Makes the wire, `nodes` nodes and the controller's namespace, joined and routed. What an earlier sandbox
    /// of the name has left must be gone (`crate::cleanup`).
    pub async fn create(layout: &Layout, nodes: u8) -> io::Result<Self> {
        if nodes == 0 || nodes > address::MAX_NODES {
            return Err(io::Error::other(format!("a sandbox has 1 to {} nodes", address::MAX_NODES)));
        }
        sysctl::allow_cubic()?;
        let cgroup = Cgroup::root()?.child(&layout.cgroup_name());
        for part in ["wire", "controller"] {
            cgroup.child(part).create()?;
        }
        let made = Self::build(layout, nodes, &cgroup).await;
        if made.is_err() {
            cgroup.remove()?;
        }
        made
    }

    async fn build(layout: &Layout, nodes: u8, cgroup: &Cgroup) -> io::Result<Self> {
        let hold = |part: &str, sysctls| Hold {
            hostname: part.to_owned(),
            cgroup: cgroup.child(part).path().to_owned(),
            sysctls,
        };
        let title = |part: &str| format!("{}/{part}", layout.name());
        let (wire, controller) = (hold("wire", sysctl::wire()), hold("controller", sysctl::host()));
        let (wire_title, controller_title) = (title("wire"), title("controller"));
        let started = (1..=nodes).map(|n| Node::start(n, cgroup.child(&format!("node-{n}")), layout.name()));
        let (wire, controller, nodes) = tokio::try_join!(
            Pause::start(&wire_title, &wire),
            Pause::start(&controller_title, &controller),
            try_join_all(started)
        )?;
        let nodes: Vec<_> = nodes.into_iter().map(Arc::new).collect();
        let fabric = Self { layout: layout.clone(), cgroup: cgroup.clone(), wire, controller, nodes };
        fabric.connect().await?;
        Ok(fabric)
    }

    async fn connect(&self) -> io::Result<()> {
        let wire = Netlink::open(&self.wire.netns()).await?;
        let bridge = wire.add_bridge("br0").await?;
        let controller = Netlink::open(&self.controller.netns()).await?;
        let mut places = vec![Place {
            port: "ctl".to_owned(),
            address: address::CONTROLLER,
            netns: self.controller.netns(),
            links: &controller,
        }];
        for (n, node) in (1..).zip(&self.nodes) {
            let (address, netns) = (node.address(), node.netns());
            places.push(Place { port: format!("n{n}"), address, netns, links: node.links() });
        }
        try_join_all(places.iter().map(|place| self.plug(&wire, bridge, place))).await?;
        try_join_all(self.nodes.iter().map(|node| local_services(node.links(), node.address()))).await?;
        Ok(())
    }

    /// Joins one namespace to the bridge and routes every other node's pods from it.
    async fn plug(&self, wire: &Netlink, bridge: u32, place: &Place<'_>) -> io::Result<()> {
        let (ip, inside) = (place.address, place.links);
        let far = End { name: "eth0", mac: address::mac(0, ip.v4) };
        let near = End { name: &place.port, mac: address::mac(1, ip.v4) };
        let index = wire.add_veth(&near, &far, &place.netns).await?;
        wire.enslave(index, bridge).await?;
        inside.up(inside.index("lo").await?).await?;
        let eth0 = inside.index("eth0").await?;
        inside.up(eth0).await?;
        inside.address(eth0, ip.v4.into(), address::WIRE_PREFIX.0).await?;
        inside.address(eth0, ip.v6.into(), address::WIRE_PREFIX.1).await?;
        for n in (1..).take(self.nodes.len()) {
            for route in to_pods(n, ip, eth0) {
                inside.route(route).await?;
            }
        }
        inside.settled(eth0).await?;
        wire.settled(index).await
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    pub fn node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.iter().find(|node| node.name() == name)
    }

    pub fn wire_netns(&self) -> PathBuf {
        self.wire.netns()
    }

    pub fn controller_netns(&self) -> PathBuf {
        self.controller.netns()
    }

    /// A command that will run in the controller's network namespace, on the host's files.
    pub fn controller_command(&self, program: &Path) -> tokio::process::Command {
        join(&self.controller.netns(), self.cgroup.child("controller").path(), program)
    }

    /// The part of `sandbox.json` that the network knows.
    pub fn describe(&self) -> serde_json::Value {
        let node = |node: &Arc<Node>| {
            let Pair { v4, v6 } = node.address();
            json!({"name": node.name(), "pid": node.pid(), "ip4": v4, "ip6": v6,
                   "cgroup": node.cgroup().path()})
        };
        json!({
            "nodes": self.nodes.iter().map(node).collect::<Vec<_>>(),
            "wire": {"pid": self.wire.pid()},
            "controller": {"pid": self.controller.pid(), "ip4": address::CONTROLLER.v4,
                           "ip6": address::CONTROLLER.v6},
        })
    }

    /// Ends every process of the sandbox's cgroups and with them the namespaces.
    pub async fn destroy(self) -> io::Result<()> {
        let Self { cgroup, wire, controller, nodes, .. } = self;
        let nodes = nodes.into_iter().filter_map(Arc::into_inner);
        let stopped = join_all(nodes.map(Node::stop)).await;
        let removed = tokio::task::spawn_blocking(move || cgroup.remove()).await.map_err(io::Error::other)?;
        wire.stop().await?;
        controller.stop().await?;
        stopped.into_iter().collect::<io::Result<()>>()?;
        removed
    }
}

/// One thing that is plugged into the wire, at the bridge's port of that name.
struct Place<'a> {
    port: String,
    address: Pair,
    netns: PathBuf,
    links: &'a Netlink,
}

/// The routes from `own` to the pods of node `n`. A node's own pods have a route each: there, an address that no
/// pod has is unreachable at once.
fn to_pods(n: u8, own: Pair, eth0: u32) -> [Route; 2] {
    let (network, (v4, v6)) = address::pod_network(n);
    let router = address::node(n);
    let route = |to, via: std::net::IpAddr, own: std::net::IpAddr| match via == own {
        true => Route { to, dev: None, via: None, source: None },
        false => Route { to, dev: Some(eth0), via: Some(via), source: Some(own) },
    };
    [
        route((network.v4.into(), v4), router.v4.into(), own.v4.into()),
        route((network.v6.into(), v6), router.v6.into(), own.v6.into()),
    ]
}

/// The node answers DNS itself, and has a route for ClusterIPs, so that its own processes reach them as well.
async fn local_services(links: &Netlink, node: Pair) -> io::Result<()> {
    // A bridge without ports leads nowhere, which is all that is wanted; not every kernel has dummy interfaces.
    let services = links.add_bridge("services").await?;
    let loopback = links.index("lo").await?;
    for (ip, source) in address::DNS.both().into_iter().zip(node.both()) {
        links.address(loopback, ip, node::full_prefix(ip)).await?;
        let to = match ip {
            std::net::IpAddr::V4(ip) => (std::net::Ipv4Addr::from(u32::from(ip) & 0xffff_0000).into(), 16),
            std::net::IpAddr::V6(ip) => (std::net::Ipv6Addr::from(u128::from(ip) & !0xffff).into(), 112),
        };
        links.route(Route { to, dev: Some(services), via: None, source: Some(source) }).await?;
    }
    Ok(())
}
