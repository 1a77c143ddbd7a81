//! A cluster: what an installation needs, and what runs of it.

use serde_json::Value;

use super::{Findings, meshes, nodes, rights};
use crate::cluster::{Cluster, PODS, SYSTEM, is_ready, reason};
use crate::install::{Bundle, Choices, get, is_ours, name_of, served, text};

pub(super) const HERE: &str = "cluster";
/// The first minor version whose pods have all that the manifests say (`appArmorProfile`).
const OLDEST: u32 = 30;

/// Looks at everything; an API server that does not answer ends it.
pub(super) async fn look(cluster: &Cluster, pre: bool, findings: &mut Findings) {
    if !version(cluster, findings).await {
        return;
    }
    let bundle = Bundle::new(&Choices::default());
    rights::look(cluster, &bundle, findings).await;
    definitions(cluster, &bundle, findings).await;
    meshes::look(cluster, findings).await;
    let installed = !pre && controller(cluster, findings).await;
    nodes::look(cluster, installed, findings).await;
}

async fn version(cluster: &Cluster, findings: &mut Findings) -> bool {
    let version = match cluster.read("/version").await {
        Ok(version) => version,
        Err(trouble) => {
            findings.fail(HERE, "api", cluster.tell(&trouble).0, "");
            return false;
        }
    };
    let said = format!("Kubernetes {} at {}", text(&version["gitVersion"]), cluster.server);
    let minor = text(&version["minor"]).trim_end_matches('+').parse::<u32>();
    match minor {
        Ok(minor) if minor < OLDEST => {
            let fix = format!(
                "use Kubernetes 1.{OLDEST} or later: older ones refuse or ignore parts of the manifests"
            );
            findings.warn(HERE, "api", said, fix);
        }
        _ => findings.ok(HERE, "api", said),
    }
    true
}

async fn definitions(cluster: &Cluster, bundle: &Bundle, findings: &mut Findings) {
    let crds = bundle.crds().unwrap_or_default();
    let (mut absent, mut ours, mut theirs) = (0, 0, 0);
    for crd in &crds {
        match get(cluster, crd).await {
            Ok(None) => absent += 1,
            Ok(Some(found)) if is_ours(&found) => ours += 1,
            Ok(Some(found)) => {
                theirs += 1;
                let present = served(&found);
                let lacking: Vec<String> =
                    served(crd).into_iter().filter(|version| !present.contains(version)).collect();
                if !lacking.is_empty() {
                    findings.warn(
                        HERE,
                        "definitions",
                        format!(
                            "{} serves {} and not {}",
                            name_of(crd),
                            present.join(", "),
                            lacking.join(", ")
                        ),
                        "upgrade them where they came from: objects of that version are refused",
                    );
                }
            }
            Err(failure) => return findings.warn(HERE, "definitions", failure.0, ""),
        }
    }
    let said = format!("{ours} of Heddle, {theirs} of others that will be used, {absent} not installed yet");
    findings.ok(HERE, "definitions", said);
}

/// Whether Heddle is installed; says how its controller is.
async fn controller(cluster: &Cluster, findings: &mut Findings) -> bool {
    let pods = cluster.list(PODS, Some(SYSTEM), "app=heddle-controller").await;
    let agents = cluster.list(PODS, Some(SYSTEM), "app=heddle-agent").await;
    let (pods, agents) = match (pods, agents) {
        (Ok(pods), Ok(agents)) => (pods, agents),
        (Err(trouble), _) | (_, Err(trouble)) => {
            findings.warn(HERE, "controller", cluster.tell(&trouble).0, "");
            return false;
        }
    };
    let see = format!("kubectl -n {SYSTEM} describe pods -l app=heddle-controller");
    match pods.iter().find(|pod| is_ready(pod)) {
        Some(pod) => findings.ok(HERE, "controller", format!("pod {} is ready{}", name(pod), image(pod))),
        None => match pods.first() {
            Some(pod) => findings.fail(HERE, "controller", reason(pod, "controller"), see),
            None if agents.is_empty() => {
                findings.warn(HERE, "controller", "Heddle is not installed", "heddle install --apply");
            }
            None => findings.fail(HERE, "controller", "it has no pod", see),
        },
    }
    !(pods.is_empty() && agents.is_empty())
}

fn name(pod: &Value) -> &str {
    text(&pod["metadata"]["name"])
}

/// `, heddle-controller:0.1.0`.
fn image(pod: &Value) -> String {
    let image = text(&pod["spec"]["containers"][0]["image"]);
    image
        .rsplit('/')
        .next()
        .filter(|last| !last.is_empty())
        .map(|last| format!(", {last}"))
        .unwrap_or_default()
}
