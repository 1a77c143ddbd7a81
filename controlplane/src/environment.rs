//! What the controller stands on: where objects come from, who callers are, and whom everybody trusts. Of a directory all three
//! are files; of a cluster, its API server.

use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::auth::accounts::Trusted;
use crate::auth::{Accounts, Callers, Tokens};
use crate::ca::keeper::{Keeper, Seat};
use crate::ca::root;
use crate::ca::trust::{LatestTrust, Trust};
use crate::controller::{StartError, at};
use crate::engine::Verdicts;
use crate::metrics::Metrics;
use crate::options::{self, Options};
use crate::published::Latest;
use crate::readiness::Readiness;
use crate::registry::cluster::{self, Cluster};
use crate::registry::directory::Directory;
use crate::registry::holdings::Holdings;
use crate::registry::{Batch, Registry};
use crate::{roots, status};

/// It.
pub(crate) struct Environment {
    pub(crate) registry: Registry,
    pub(crate) callers: Arc<Callers>,
    pub(crate) trust: LatestTrust,
}

/// What it is connected to.
pub(crate) struct Ends {
    pub(crate) holdings: Holdings,
    pub(crate) batches: mpsc::Sender<Batch>,
    pub(crate) verdicts: mpsc::Receiver<Verdicts>,
    pub(crate) published: Latest,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Readiness,
    pub(crate) stop: CancellationToken,
}

impl Environment {
    /// Starts to read objects and to write what becomes of them.
    pub(crate) async fn open(options: &Options, ends: Ends) -> Result<Self, StartError> {
        match options.registry {
            options::Registry::Directory => Self::directory(options, ends),
            options::Registry::Kubernetes => Self::cluster(options, ends).await,
        }
    }

    fn directory(options: &Options, ends: Ends) -> Result<Self, StartError> {
        tokio::spawn(status::run(options.status_dir.clone(), ends.verdicts));
        let folder = options.directory.clone().unwrap_or_default();
        let directory = Directory::spawn(folder, ends.holdings, ends.batches).map_err(at("registry"))?;
        let tokens = Tokens::new(options.tokens.clone().unwrap_or_default());
        let trust = trust_of_folder(options, options.ca_dir.as_deref().unwrap_or(Path::new("ca")))?;
        Ok(Self {
            registry: Registry::Directory(directory),
            callers: Arc::new(Callers::Tokens(tokens)),
            trust,
        })
    }

    async fn cluster(options: &Options, ends: Ends) -> Result<Self, StartError> {
        let client = cluster::connect(options.kubeconfig.as_deref()).await?;
        let cluster = Cluster::spawn(&client, ends.holdings, options.pace, ends.batches, ends.stop.clone());
        tokio::spawn(status::cluster::run(client.clone(), cluster.clone(), ends.verdicts));
        let trust = match &options.ca_dir {
            Some(folder) => trust_of_folder(options, folder)?,
            None => keep(&client, options, (&ends.readiness, &ends.stop)),
        };
        let writer = (client.clone(), cluster.clone());
        tokio::spawn(roots::run(writer, trust.clone(), ends.readiness.clone(), ends.stop.clone()));
        let callers = match &options.tokens {
            Some(file) => Callers::Tokens(Tokens::new(file.clone())),
            None => {
                let trusted = Trusted {
                    audiences: options.token_audiences.clone(),
                    accounts: options.trusted_accounts.clone(),
                };
                let accounts = Accounts::new(client, trusted, ends.published, ends.metrics, ends.readiness);
                Callers::Accounts(Box::new(accounts))
            }
        };
        let callers = Arc::new(callers);
        tokio::spawn(try_out(callers.clone(), options.pace, ends.stop));
        Ok(Self { registry: Registry::Cluster(cluster), callers, trust })
    }
}

/// A root in a folder does not change while somebody uses it.
fn trust_of_folder(options: &Options, folder: &Path) -> Result<LatestTrust, StartError> {
    let trust = Trust::of(root::open(folder, &options.trust_domain)?);
    if let Some(path) = &options.root_out {
        publish(path, &trust.bundle()).map_err(at(path.display()))?;
    }
    Ok(watch::channel(Some(Arc::new(trust))).1)
}

fn keep(
    client: &Client,
    options: &Options,
    (readiness, stop): (&Readiness, &CancellationToken),
) -> LatestTrust {
    let (sender, trust) = watch::channel(None);
    let seat = Seat { client: client.clone(), trust_domain: options.trust_domain.clone() };
    let keeper = Keeper::new(seat, sender, readiness.clone(), options.pace, options.max_cert_ttl);
    tokio::spawn(keeper.run(stop.clone()));
    trust
}

/// Asks until it was answered once.
async fn try_out(callers: Arc<Callers>, pace: cluster::Pace, stop: CancellationToken) {
    let Callers::Accounts(accounts) = &*callers else { return };
    while !accounts.try_out().await {
        tokio::select! {
            () = tokio::time::sleep(pace.longest) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// The trust bundle is public: agents of other users may read it.
fn publish(path: &Path, pem: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    root::write_private(path, pem)?;
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644))
}
