//! Work inside a network namespace: a thread that joins it, and netlink over a socket that stays in it.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use futures_util::TryStreamExt as _;
use nix::sched::CloneFlags;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage, State};
use rtnetlink::packet_route::route::{RouteScope, RouteType};
use rtnetlink::{LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

/// Runs `work` on a fresh thread that has joined the namespace; sockets it makes stay there for good.
/// The thread ends afterwards, so that no later work can find itself in the wrong namespace.
pub async fn within<T: Send + 'static>(
    netns: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let file = File::open(netns)?;
    let runtime = tokio::runtime::Handle::current();
    let (send, receive) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("netns".into()).spawn(move || {
        let _entered = runtime.enter();
        let result = nix::sched::setns(&file, CloneFlags::CLONE_NEWNET).map_err(io::Error::from);
        // The receiver is gone only when the caller was cancelled.
        let _ = send.send(result.and_then(|()| work()));
    })?;
    receive.await.map_err(io::Error::other)?
}

/// rtnetlink spoken in one namespace. Dropping it closes the socket.
#[derive(Clone, Debug)]
pub struct Netlink {
    handle: rtnetlink::Handle,
}

/// Long enough for a machine under load; an interface that is still down then is found out by whoever uses it.
const SETTLE: std::time::Duration = std::time::Duration::from_secs(2);

/// A route in words of `ip route`.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    pub to: (IpAddr, u8),
    /// The interface; none makes the destination unreachable.
    pub dev: Option<u32>,
    pub via: Option<IpAddr>,
    pub source: Option<IpAddr>,
}

/// One end of a veth: its name, its MAC, and for the far end the namespace.
#[derive(Debug)]
pub struct End<'a> {
    pub name: &'a str,
    pub mac: [u8; 6],
}

impl Netlink {
    pub async fn open(netns: &Path) -> io::Result<Self> {
        let (connection, handle, _) = within(netns, rtnetlink::new_connection).await?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// A veth whose near end is here and whose far end is born in `far_netns`.
    pub async fn add_veth(&self, near: &End<'_>, far: &End<'_>, far_netns: &Path) -> io::Result<u32> {
        let netns = File::open(far_netns)?;
        let peer: LinkMessage = LinkMessageBuilder::<LinkUnspec>::new()
            .name(far.name)
            .address(far.mac.to_vec())
            .setns_by_fd(netns.as_raw_fd())
            .build();
        let link = LinkVeth::new(near.name, far.name)
            .address(near.mac.to_vec())
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .up()
            .build();
        self.handle.link().add(link).execute().await.map_err(|e| failed("veth", near.name, &e))?;
        self.index(near.name).await
    }

    pub async fn add_bridge(&self, name: &str) -> io::Result<u32> {
        let link = LinkBridge::new(name).forward_delay(0).mcast_snooping(false).build();
        self.handle.link().add(link).execute().await.map_err(|e| failed("bridge", name, &e))?;
        self.index(name).await
    }

    pub async fn index(&self, name: &str) -> io::Result<u32> {
        let mut links = self.handle.link().get().match_name(name.to_owned()).execute();
        match links.try_next().await {
            Ok(Some(link)) => Ok(link.header.index),
            Ok(None) => Err(io::Error::new(io::ErrorKind::NotFound, format!("no interface {name}"))),
            Err(error) => Err(failed("look up", name, &error)),
        }
    }

    pub async fn up(&self, index: u32) -> io::Result<()> {
        let link = LinkUnspec::new_with_index(index).up().build();
        self.handle.link().set(link).execute().await.map_err(|e| failed("up", &index.to_string(), &e))
    }

    /// Waits until the interface passes packets: the kernel raises the carrier of a veth in a work item of its own,
    /// and what is sent before that is lost.
    pub async fn settled(&self, index: u32) -> io::Result<()> {
        let up = |link: &LinkMessage| link.attributes.contains(&LinkAttribute::OperState(State::Up));
        let deadline = tokio::time::Instant::now() + SETTLE;
        loop {
            let mut links = self.handle.link().get().match_index(index).execute();
            let link = links.try_next().await.map_err(|e| failed("look up", &index.to_string(), &e))?;
            if link.as_ref().is_some_and(up) || tokio::time::Instant::now() > deadline {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    pub async fn enslave(&self, index: u32, bridge: u32) -> io::Result<()> {
        let link = LinkUnspec::new_with_index(index).controller(bridge).build();
        self.handle.link().set(link).execute().await.map_err(|e| failed("enslave", &index.to_string(), &e))
    }

    /// Deletes an interface; one that has gone already is no error.
    pub async fn delete(&self, index: u32) -> io::Result<()> {
        let result = self.handle.link().del(index).execute().await;
        if let Err(rtnetlink::Error::NetlinkError(message)) = &result
            && message.raw_code() == -libc::ENODEV
        {
            return Ok(());
        }
        result.map_err(|e| failed("delete", &index.to_string(), &e))
    }

    pub async fn address(&self, index: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
        let mut request = self.handle.address().add(index, address, prefix);
        // Usable at once: without the flag it stays tentative for a moment even where detection is off.
        request.message_mut().header.flags.insert(AddressHeaderFlags::Nodad);
        let result = request.execute().await;
        result.map_err(|e| failed("address", &address.to_string(), &e))
    }

    /// A permanent neighbour: no ARP or NDP is ever asked or answered for it.
    pub async fn neighbour(&self, index: u32, address: IpAddr, mac: [u8; 6]) -> io::Result<()> {
        let request = self.handle.neighbours().add(index, address).link_layer_address(&mac);
        request.execute().await.map_err(|e| failed("neighbour", &address.to_string(), &e))
    }

    pub async fn route(&self, route: Route) -> io::Result<()> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, format!("{route:?}: {error:?}"));
        let mut message = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(route.to.0, route.to.1)
            .map_err(invalid)?;
        message = match route.dev {
            Some(index) => message.output_interface(index),
            None => message.kind(RouteType::Unreachable),
        };
        match route.via {
            Some(via) => message = message.gateway(via).map_err(invalid)?.onlink(),
            None if route.to.0.is_ipv4() && route.dev.is_some() => message = message.scope(RouteScope::Link),
            None => {}
        }
        if let Some(source) = route.source {
            message = message.pref_source(source).map_err(invalid)?;
        }
        let result = self.handle.route().add(message.build()).execute().await;
        result.map_err(|e| failed("route", &format!("{}/{}", route.to.0, route.to.1), &e))
    }
}

fn failed(verb: &str, what: &str, error: &rtnetlink::Error) -> io::Error {
    let code = match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io().kind(),
        _ => io::ErrorKind::Other,
    };
    io::Error::new(code, format!("{verb} {what}: {error}"))
}
