//! `heddle explain`: what would become of a request, from the client's `connect` to the destination's policies.

mod text;
mod to;

use std::io;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::world::{PodRecord, World};
use super::{Failure, Target};
use crate::output;
use to::Destination;

const EXAMPLES: &str = "Examples:
  heddle explain deploy/frontend backend
  heddle explain frontend http://reviews:9080/v2?q=1 --header user-agent=Mobile
  heddle explain -n shop cart 10.96.0.17 --port 80 --method DELETE -o json";

/// Explain what would become of a request: capture, destination, virtual host, each rule and why it does not match, the
/// rule that does and the one that came nearest, the endpoint, and the destination's policies.
///
/// Nothing is sent: the agents of both ends are asked, and they answer by the functions that decide on traffic.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Options {
    /// Who sends: NAME, NAMESPACE/NAME or deploy/NAME.
    src: String,

    /// Where to: a service, a host, a pod (pod/NAME, deploy/NAME), an address or a URL.
    dst: String,

    /// The port that is dialled; else that of the URL, else that of the service.
    #[arg(long)]
    port: Option<u16>,

    /// The method.
    #[arg(long, default_value = "GET")]
    method: String,

    /// The path, with its query.
    #[arg(long)]
    path: Option<String>,

    /// A header, NAME=VALUE; repeatable. `host` sets the authority.
    #[arg(long, value_name = "NAME=VALUE", value_parser = header)]
    header: Vec<(String, String)>,

    /// Namespace of SRC, and of DST where it is a pod; else that of the context, or `default`.
    #[arg(short, long)]
    namespace: Option<String>,

    #[command(flatten)]
    target: Target,
}

fn header(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').or_else(|| text.split_once(": "));
    let (name, value) = pair.ok_or_else(|| format!("{text:?}: want NAME=VALUE"))?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

pub(super) fn run(options: &Options) -> io::Result<ExitCode> {
    let world = options.target.world()?;
    let namespace = options.namespace.as_deref();
    let source = world.pod(namespace, &options.src)?;
    let destination = Destination::read(&options.dst)?;
    let host = host(&world, &source, namespace, &destination)?;
    let path = options.path.clone().or(destination.path).unwrap_or_else(|| "/".to_owned());
    let question = json!({
        "podUid": source.uid,
        "host": host,
        "port": options.port.or(destination.port),
        "method": options.method,
        "path": path,
        "headers": options.header,
    });
    let mut answer = world.agent_asked(&source.node, "/explain", &question)?;
    judge_all(&world, &mut answer);
    output::print(options.target.output, &answer, |out| text::write(&answer, out))
}

/// The name that is dialled, or the address of the pod that is meant. A service goes before a pod of its name.
fn host(
    world: &World,
    source: &PodRecord,
    namespace: Option<&str>,
    to: &Destination,
) -> Result<String, Failure> {
    let address = |pod: &PodRecord| {
        pod.addresses.first().cloned().ok_or_else(|| Failure(format!("pod {} has no address", pod.name)))
    };
    if to.is_pod {
        return address(&world.pod(namespace, &to.host)?);
    }
    let services = world.agent(&source.node, "/config/services")?;
    let mut services = services.as_array().into_iter().flatten();
    let is_service = services.any(|service| service["name"] == to.host.as_str());
    let pod = if is_service || to.host.contains('.') { None } else { world.pod(namespace, &to.host).ok() };
    pod.map_or_else(|| Ok(to.host.clone()), |pod| address(&pod))
}

/// Asks the agent of each endpoint that would be chosen what its pod's policies say.
fn judge_all(world: &World, answer: &mut Value) {
    let (source, request) = (answer["source"].clone(), answer["request"].clone());
    let judge = |picked: &Value, tunnelled: bool, path: &Value, authority: &Value| -> Option<Value> {
        let address: std::net::SocketAddr = picked["address"].as_str()?.parse().ok()?;
        let node = world.node(picked["node"].as_str()?).ok()?;
        let case = json!({
            "address": address.ip(),
            "port": address.port(),
            "identity": if tunnelled { source["identity"].clone() } else { Value::Null },
            "source": source["addresses"][0],
            "method": request["method"].as_str().unwrap_or("GET"),
            "path": path.as_str().or(request["path"].as_str()).unwrap_or("/"),
            "authority": authority.as_str().or(request["authority"].as_str()).unwrap_or_default(),
        });
        Some(match world.agent_asked(&node, "/judge", &case) {
            Ok(verdict) => verdict,
            Err(Failure(error)) => json!({ "error": error }),
        })
    };
    let verdicts: Vec<Option<Value>> = (request["backends"].as_array().into_iter().flatten())
        .map(|backend| {
            let chosen = backend["endpoints"].as_array().into_iter().flatten();
            let mut chosen = chosen.filter(|each| each["address"] == backend["pick"]["address"]);
            let tunnelled =
                chosen.any(|each| each["transport"].as_str().unwrap_or_default().contains("tunnel"));
            judge(&backend["pick"], tunnelled, &backend["path"], &backend["authority"])
        })
        .collect();
    for (at, verdict) in verdicts.into_iter().enumerate() {
        answer["request"]["backends"][at]["policies"] = verdict.unwrap_or_default();
    }
    if answer["direct"].is_object() {
        let verdict = judge(&answer["direct"], true, &Value::Null, &Value::Null);
        answer["direct"]["policies"] = verdict.unwrap_or_default();
    }
}
