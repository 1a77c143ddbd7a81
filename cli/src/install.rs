//! `heddle install`: everything that runs, printed or applied.

mod bundle;
mod definitions;
mod rollout;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::{Access, Cluster, Resource, resource_of};
use crate::failure::Failure;
use crate::{duration, output};

pub(crate) use bundle::{Bundle, Choices};
pub(crate) use definitions::{is_ours, served};

const EXAMPLES: &str = "Examples:
  heddle check --pre
  heddle install --apply
  heddle install --print | kubectl apply -f -
  heddle install --apply --image-registry registry.example:5000/mesh --tag v1";

/// Install Heddle into a cluster: definitions, accounts and rights, the controller, and an agent on each node.
///
/// It can be called again, and then brings everything to what this version installs. Where Istio's or the Gateway API's own
/// definitions are installed, those are used. Nothing is in the mesh until a namespace is labelled.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("how").required(true).args(["print", "apply"]))]
pub(crate) struct Options {
    /// Print everything as YAML, for `kubectl apply -f -`; no cluster is needed.
    #[arg(long)]
    print: bool,

    /// Apply everything to the cluster, as `kubectl apply --server-side --field-manager heddle` does.
    #[arg(long)]
    apply: bool,

    #[command(flatten)]
    choices: Choices,

    #[command(flatten)]
    access: Access,

    /// Take over fields that somebody else manages.
    #[arg(long)]
    force_conflicts: bool,

    /// Wait until everything runs on every node.
    #[arg(long, default_value = "true", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    wait: bool,

    /// How long to wait.
    #[arg(long, default_value = "300s", value_name = "DURATION", value_parser = duration::parse)]
    timeout: Duration,
}

pub(crate) fn run(options: &Options) -> io::Result<ExitCode> {
    let bundle = Bundle::new(&options.choices);
    if options.print {
        return output::text(|out| out.write_all(bundle.yaml().as_bytes()));
    }
    let cluster = Cluster::open(&options.access)?;
    cluster.block_on(apply(&cluster, &bundle, options))?;
    Ok(ExitCode::SUCCESS)
}

async fn apply(cluster: &Cluster, bundle: &Bundle, options: &Options) -> Result<(), Failure> {
    definitions::apply(cluster, &bundle.crds()?, options.force_conflicts).await?;
    let objects = bundle.base()?;
    for object in &objects {
        let done = put(cluster, object, options.force_conflicts).await?;
        say(&format!("{} {}", name_of(object), done.word()));
    }
    if options.wait {
        rollout::wait(cluster, &objects, options.timeout).await?;
        say("Heddle runs. Next: kubectl label namespace NAME istio-injection=enabled; heddle status");
    }
    Ok(())
}

/// What became of an object, in kubectl's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Created,
    Configured,
    Unchanged,
}

impl Done {
    fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

pub(crate) async fn get(cluster: &Cluster, object: &Value) -> Result<Option<Value>, Failure> {
    let metadata = &object["metadata"];
    let resource = resource(object)?;
    match cluster.get(resource, metadata["namespace"].as_str(), text(&metadata["name"])).await {
        Ok(found) => Ok(Some(found)),
        Err(trouble) if trouble.is_absent() => Ok(None),
        Err(trouble) => Err(cluster.tell(&trouble)),
    }
}

/// Applies one object.
pub(crate) async fn put(cluster: &Cluster, object: &Value, force: bool) -> Result<Done, Failure> {
    let before = get(cluster, object).await?;
    let name = name_of(object);
    let after = cluster.apply(resource(object)?, object, force).await.map_err(|trouble| {
        let Failure(told) = cluster.tell(&trouble);
        Failure(match trouble.is_conflict() {
            true => format!(
                "{name}: {told}\nSomebody else manages these fields; --force-conflicts takes them over"
            ),
            false => format!("{name}: {told}"),
        })
    })?;
    let version = |object: &Value| text(&object["metadata"]["resourceVersion"]).to_owned();
    Ok(match before {
        None => Done::Created,
        Some(before) if version(&before) == version(&after) => Done::Unchanged,
        Some(_) => Done::Configured,
    })
}

pub(crate) fn resource(object: &Value) -> Result<Resource<'_>, Failure> {
    resource_of(object).ok_or_else(|| Failure(format!("{} is of a kind that nobody knows", name_of(object))))
}

/// `deployment.apps/heddle-controller`.
pub(crate) fn name_of(object: &Value) -> String {
    let kind = text(&object["kind"]).to_lowercase();
    let group = text(&object["apiVersion"]).split_once('/').map(|(group, _)| format!(".{group}"));
    format!("{kind}{}/{}", group.unwrap_or_default(), text(&object["metadata"]["name"]))
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A line as it happens; a reader that has gone away stops nothing half-way.
pub(crate) fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _gone = writeln!(out, "{line}").and_then(|()| out.flush());
}
