//! Every object of a cluster that is of a kind we know.

use futures_util::stream::{self, StreamExt};
use heddle_api::kind::{KINDS, KindInfo};
use serde_json::Value;

use crate::cluster::{Cluster, Resource, Trouble};
use crate::failure::Failure;

/// Kinds that are listed at a time.
const AT_ONCE: usize = 8;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) objects: Vec<Value>,
    /// What was not looked at, in words.
    pub(super) left_out: Vec<String>,
}

/// Lists each kind, in the version that the cluster has. A kind that is absent or forbidden does not stop the rest.
pub(super) fn all(cluster: &Cluster) -> Result<Found, Failure> {
    let lists = stream::iter(KINDS.iter()).map(async |kind| (kind, list(cluster, kind).await));
    let lists: Vec<_> = cluster.block_on(lists.buffered(AT_ONCE).collect());
    let mut found = Found::default();
    let (mut absent, mut forbidden) = (Vec::new(), Vec::new());
    for (kind, list) in lists {
        match list {
            Ok(objects) => found.objects.extend(objects),
            Err(trouble) if trouble.is_absent() => absent.push(kind.directory()),
            Err(trouble) if trouble.is_forbidden() => forbidden.push(kind.directory()),
            Err(trouble) => return Err(cluster.tell(&trouble)),
        }
    }
    if found.objects.is_empty() && !forbidden.is_empty() {
        let kinds = forbidden.join(", ");
        return Err(Failure(format!("you may list nothing in context '{}': {kinds}", cluster.name)));
    }
    let lists = [
        (absent, "not served by this cluster, left out"),
        (forbidden, "you may not list these, left out; findings about them may be wrong"),
    ];
    found.left_out = lists
        .into_iter()
        .filter(|(kinds, _)| !kinds.is_empty())
        .map(|(kinds, why)| format!("{why}: {}", kinds.join(", ")))
        .collect();
    Ok(found)
}

async fn list(cluster: &Cluster, kind: &KindInfo) -> Result<Vec<Value>, Trouble> {
    let mut last = Err(Trouble::Other("no version".to_owned()));
    for version in kind.versions {
        let api_version =
            if kind.group.is_empty() { (*version).to_owned() } else { format!("{}/{version}", kind.group) };
        last = cluster.list(Resource { api_version: &api_version, plural: kind.plural }, None, "").await;
        match &mut last {
            Err(trouble) if trouble.is_absent() => {}
            Ok(objects) => {
                for object in objects {
                    // The items of a list of Kubernetes' own kinds do not say what they are.
                    object["apiVersion"] = api_version.clone().into();
                    object["kind"] = kind.kind.into();
                }
                break;
            }
            Err(_) => break,
        }
    }
    last
}
