//! `heddle uninstall`: everything that `heddle install` made goes, from the nodes first.

mod cleanup;
mod rest;

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::{Access, Cluster, NODES, Resource, is_linux, is_ready};
use crate::duration;
use crate::failure::Failure;
use crate::install::{Bundle, Choices, get, is_ours, name_of, say, text};

const EXAMPLES: &str = "Examples:
  heddle uninstall
  heddle uninstall --yes --crds";

/// Uninstall Heddle: pods talk directly again, and nothing of Heddle stays on the nodes or in the cluster.
///
/// Each node is cleaned by a Job: the CNI plugin leaves the network configuration, programs and maps leave the kernel, files go.
/// Then everything else goes with the namespace heddle-system: Heddle's own authority, and what you put there. Definitions
/// stay unless --crds says so. Called again after a failure it goes on.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(flatten)]
    access: Access,

    /// Delete the definitions that Heddle installed too, and with them every object of their kinds.
    #[arg(long)]
    crds: bool,

    /// Do not ask.
    #[arg(short, long)]
    yes: bool,

    /// Leave these nodes as they are; `heddle-cni remove` and `heddle-agent remove` clean one by hand.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    skip_nodes: Vec<String>,

    /// How long each step may take.
    #[arg(long, default_value = "300s", value_name = "DURATION", value_parser = duration::parse)]
    timeout: Duration,
}

/// What there is to remove.
struct Found {
    /// Of the bundle, in its order.
    objects: Vec<Value>,
    /// Definitions that are ours, if they are to go.
    crds: Vec<Value>,
}

pub(crate) fn run(options: &Options) -> io::Result<ExitCode> {
    let cluster = Cluster::open(&options.access)?;
    let bundle = Bundle::new(&Choices::default());
    let found = cluster.block_on(find(&cluster, &bundle, options.crds))?;
    if found.objects.is_empty() && found.crds.is_empty() {
        let stay = if options.crds { "" } else { " (definitions are not looked at without --crds)" };
        let message =
            format!("Heddle is not installed in context '{}'{stay}; nothing was done", cluster.name);
        return Err(io::Error::other(message));
    }
    let nodes = match found.objects.is_empty() {
        true => Vec::new(),
        false => cluster.block_on(nodes(&cluster, &options.skip_nodes))?,
    };
    if !options.yes && !agreed(&cluster, options, nodes.len(), &found)? {
        eprintln!("heddle: nothing was done");
        return Ok(ExitCode::FAILURE);
    }
    cluster.block_on(async {
        if !found.objects.is_empty() {
            cleanup::run(&cluster, &bundle, &nodes, options.timeout).await?;
            rest::delete(&cluster, &found.objects, options.timeout).await?;
        }
        rest::delete_definitions(&cluster, &found.crds, options.timeout).await
    })?;
    for node in &options.skip_nodes {
        say(&format!(
            "node {node} is left as it is; on it: heddle-cni remove && heddle-agent remove --node {node}"
        ));
    }
    say(match options.crds {
        true => "Heddle is uninstalled",
        false => "Heddle is uninstalled; its definitions stay: heddle uninstall --crds",
    });
    Ok(ExitCode::SUCCESS)
}

/// What of the bundle is in the cluster. Namespaces that others share are not Heddle's.
async fn find(cluster: &Cluster, bundle: &Bundle, crds: bool) -> Result<Found, Failure> {
    let mut objects = Vec::new();
    for object in bundle.base()? {
        match get(cluster, &object).await? {
            Some(found) if object["kind"] != "Namespace" || is_ours(&found) => objects.push(object),
            _ => {}
        }
    }
    let definitions =
        Resource { api_version: "apiextensions.k8s.io/v1", plural: "customresourcedefinitions" };
    let mut ours = Vec::new();
    if crds {
        let label = "app.kubernetes.io/managed-by=heddle";
        ours = cluster.list(definitions, None, label).await.map_err(|trouble| cluster.tell(&trouble))?;
        for crd in &mut ours {
            crd["apiVersion"] = definitions.api_version.into();
            crd["kind"] = "CustomResourceDefinition".into();
        }
    }
    Ok(Found { objects, crds: ours })
}

/// Nodes to clean. One that is away cannot be: then nothing is begun.
async fn nodes(cluster: &Cluster, skipped: &[String]) -> Result<Vec<String>, Failure> {
    let nodes = cluster.list(NODES, None, "").await.map_err(|trouble| cluster.tell(&trouble))?;
    let name = |node: &Value| text(&node["metadata"]["name"]).to_owned();
    if let Some(unknown) = skipped.iter().find(|skipped| !nodes.iter().any(|node| name(node) == **skipped)) {
        return Err(Failure(format!("--skip-nodes: the cluster has no node '{unknown}'")));
    }
    let wanted = nodes.iter().filter(|node| is_linux(node)).filter(|node| !skipped.contains(&name(node)));
    let (ready, away): (Vec<&Value>, Vec<&Value>) = wanted.partition(|node| is_ready(node));
    if away.is_empty() {
        return Ok(ready.into_iter().map(name).collect());
    }
    let away = away.into_iter().map(name).collect::<Vec<_>>().join(",");
    Err(Failure(format!(
        "not ready, and so cannot be cleaned: {away}. Nothing was done. Bring the nodes back, or remove those that are gone for good \
         (kubectl delete node NAME), or leave them as they are: --skip-nodes {away}"
    )))
}

/// Asks whoever is there.
fn agreed(cluster: &Cluster, options: &Options, nodes: usize, found: &Found) -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(io::Error::other("this deletes Heddle; say so: --yes"));
    }
    let mut out = io::stderr().lock();
    writeln!(out, "This uninstalls Heddle from context '{}' ({}):", cluster.name, cluster.server)?;
    if !found.objects.is_empty() {
        writeln!(
            out,
            "  {nodes} nodes are cleaned; pods talk directly, without mutual TLS and without policies"
        )?;
        writeln!(
            out,
            "  namespace heddle-system goes with everything in it, its authority and Secret cacerts too"
        )?;
    }
    if options.crds {
        writeln!(
            out,
            "  {} definitions go, with every object of their kinds in every namespace",
            found.crds.len()
        )?;
    }
    write!(out, "Type yes to go on: ")?;
    out.flush()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(["y", "yes"].contains(&line.trim()))
}

/// `daemonset.apps/heddle-agent deleted`.
fn say_deleted(object: &Value) {
    say(&format!("{} deleted", name_of(object)));
}
