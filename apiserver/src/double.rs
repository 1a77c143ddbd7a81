//! A running double, as a test holds it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::access::User;
use crate::faults::Fault;
use crate::serve::{self, Shared};
use crate::tls;
use crate::tokens::TokenSpec;
use crate::world::World;

/// The token of a member of `system:masters`.
pub const ADMIN: &str = "admin-token";

/// How a double is to be.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where it listens; port 0: anywhere.
    pub listen: SocketAddr,
    /// Whether what is not granted is denied; else everybody may do everything.
    pub rbac: bool,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Whether the kinds of Istio and of the Gateway API are installed.
    pub mesh: bool,
    /// Time between two bookmarks.
    pub bookmarks: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { listen, rbac: false, tls: false, mesh: true, bookmarks: Duration::from_secs(1) }
    }
}

/// A running double. It ends with the last of its clones, or when it is stopped.
#[derive(Clone, Debug)]
pub struct Double {
    address: SocketAddr,
    certificate: Option<String>,
    shared: Arc<Shared>,
    _guard: Arc<tokio_util::sync::DropGuard>,
}

impl Double {
    /// Starts one, with the namespaces `default`, `kube-system` and `heddle-system`.
    ///
    /// # Errors
    /// The address cannot be bound, or a certificate not be made.
    pub async fn start(setup: Setup) -> io::Result<Self> {
        let listener = TcpListener::bind(setup.listen).await?;
        let address = listener.local_addr()?;
        let (acceptor, certificate) = if setup.tls {
            let (acceptor, certificate) = tls::acceptor(address.ip())?;
            (Some(acceptor), Some(certificate))
        } else {
            (None, None)
        };
        let mut world = World::new(setup.rbac, setup.bookmarks);
        world.users.insert(ADMIN.to_owned(), User::named("admin", &["system:masters"]));
        let shared = Arc::new(Shared::new(world));
        let guard = Arc::new(shared.stop.clone().drop_guard());
        tokio::spawn(serve::accept(listener, acceptor, shared.clone()));
        let double = Self { address, certificate, shared, _guard: guard };
        for name in ["default", "kube-system", "heddle-system"] {
            double.namespace(name, &json!({}));
        }
        if setup.mesh {
            double.install_mesh_kinds();
        }
        Ok(double)
    }

    /// `http://127.0.0.1:41234`.
    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// PEM of the certificate that clients are to trust, under TLS.
    pub fn certificate(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// A kubeconfig for whoever has this token, as JSON, which is YAML too.
    pub fn kubeconfig(&self, token: &str) -> String {
        let mut cluster = json!({"server": self.url()});
        if let Some(certificate) = &self.certificate {
            cluster["certificate-authority-data"] = STANDARD.encode(certificate).into();
        }
        json!({"apiVersion": "v1", "kind": "Config", "current-context": "double",
            "clusters": [{"name": "double", "cluster": cluster}],
            "users": [{"name": "double", "user": {"token": token}}],
            "contexts": [{"name": "double", "context": {"cluster": "double", "user": "double"}}]})
        .to_string()
    }

    /// Stores an object as its owners would have made it, status included. Gives it back as it is kept.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn try_put(&self, object: Value) -> Result<Value, String> {
        self.shared.world().own(object).map_err(|failure| failure.message)
    }

    /// Stores an object that is right.
    ///
    /// # Panics
    /// It is not.
    #[allow(clippy::panic, reason = "a test tool")]
    pub fn put(&self, object: Value) -> Value {
        self.try_put(object).unwrap_or_else(|message| panic!("{message}"))
    }

    /// A namespace with these labels.
    pub fn namespace(&self, name: &str, labels: &Value) -> Value {
        self.put(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}),
        )
    }

    /// Every kind of Istio's and the Gateway API's that this project knows, by the definitions that ship.
    pub fn install_mesh_kinds(&self) {
        for definition in heddle_api::crd::definitions() {
            self.put(definition);
        }
    }

    /// An object, by `pods` or `httproutes.gateway.networking.k8s.io`, namespace (empty: none) and name.
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = (namespace.to_owned(), name.to_owned());
        self.shared.world().store.get(resource, &key).map(|object| (**object).clone())
    }

    /// Every object of a resource.
    pub fn list(&self, resource: &str) -> Vec<Value> {
        self.shared.world().store.all(resource).map(|(_, object)| (**object).clone()).collect()
    }

    /// Takes an object away, whatever its finalizers say. Tells whether it was there.
    pub fn remove(&self, resource: &str, namespace: &str, name: &str) -> bool {
        let mut world = self.shared.world();
        let key = (namespace.to_owned(), name.to_owned());
        let gone = world.store.remove(&resource.into(), &key).is_some();
        world.settle(resource);
        gone
    }

    /// The newest version.
    pub fn version(&self) -> u64 {
        self.shared.world().store.version()
    }

    /// A token of a service account.
    ///
    /// # Errors
    /// The account or the pod is not there.
    pub fn token(&self, spec: &TokenSpec) -> Result<String, String> {
        self.shared.world().issue(spec).map(|(token, _)| token).map_err(|failure| failure.message)
    }

    /// Lets somebody in by a token of their own.
    pub fn user(&self, token: &str, name: &str, groups: &[&str]) {
        self.shared.world().users.insert(token.to_owned(), User::named(name, groups));
    }

    /// Has TokenReview say this of a token, as `status`: what no honest server says, too.
    pub fn review_as(&self, token: &str, status: Value) {
        self.shared.world().verdicts.insert(token.to_owned(), status);
    }

    /// Puts the clock forward: tokens end.
    pub fn advance(&self, time: Duration) {
        self.shared.world().ahead += time;
    }

    /// Forgets everything that happened until now: who comes with an older version gets 410.
    pub fn compact(&self) {
        self.shared.world().store.compact();
    }

    /// Asks for a fault.
    pub fn fail(&self, fault: Fault) {
        let mut world = self.shared.world();
        world.faults.push(fault);
        world.store.wake();
    }

    /// Takes back the faults that did not happen yet; gives back how many.
    pub fn clear_faults(&self) -> usize {
        std::mem::take(&mut self.shared.world().faults).len()
    }

    /// Faults that did not happen yet.
    pub fn pending_faults(&self) -> usize {
        self.shared.world().faults.len()
    }

    /// Ends every connection, and takes no new ones until it is up again.
    pub fn down(&self, down: bool) {
        self.shared.down.send_replace(down);
    }

    /// `verb resource[/subresource] namespace/name` of every request.
    pub fn requests(&self) -> Vec<String> {
        self.shared.world().seen.clone()
    }

    /// `user: verb resource.group namespace/name` of everything that was refused.
    pub fn denied(&self) -> Vec<String> {
        self.shared.world().denied.clone()
    }

    /// Ends it.
    pub fn stop(&self) {
        self.shared.stop.cancel();
    }
}
