//! `wait`: asks again until it is so.
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use heddle_sandbox::client::Client;
use heddle_sandbox::server::{ApiError, Named};
use heddle_sandbox::workloads::progress;
use serde_json::{Value, json};

use super::selection::Selection;
use super::{Which, failure, readiness, say, target};
use crate::duration;

const PAUSE: Duration = Duration::from_millis(50);

/// Wait until objects, or the whole sandbox, are as wanted.
#[derive(Args)]
pub(crate) struct WaitOptions {
    #[command(flatten)]
    which: Which,
    /// KIND/NAME…, KIND NAME…, or KIND with --all or -l; without a word, everything (of the namespace of -n).
    object: Vec<String>,
    /// ready, synced (every agent has applied all earlier changes), deleted, or condition=NAME[=VALUE].
    #[arg(long = "for", value_name = "WHAT")]
    what: String,
    #[command(flatten)]
    selection: Selection,
    /// How long.
    #[arg(long, default_value = "60s", value_parser = duration::parse)]
    timeout: Duration,
}

/// What is waited for.
#[derive(Clone, Debug)]
pub(super) enum Goal {
    /// Pods and workloads, of one namespace or of all.
    AllReady {
        namespace: Option<String>,
    },
    Ready {
        object: Named,
    },
    /// None: all changes until now.
    Synced {
        version: Option<u64>,
    },
    /// With a uid: that incarnation.
    Gone {
        object: Named,
        uid: Option<String>,
    },
    Condition {
        object: Named,
        name: String,
        value: String,
    },
    RolledOut {
        object: Named,
    },
}

pub(super) fn wait(options: &WaitOptions) -> Result<ExitCode, ApiError> {
    let client = options.which.client()?;
    if options.what == "synced" {
        until(&client, &Goal::Synced { version: None }, options.timeout)?;
        say("synced")?;
        return Ok(ExitCode::SUCCESS);
    }
    if options.object.is_empty() {
        if options.what != "ready" {
            return Err(failure(format!(
                "name the objects to wait for: --for {} needs KIND/NAME",
                options.what
            )));
        }
        until(&client, &Goal::AllReady { namespace: options.selection.namespace.clone() }, options.timeout)?;
        say("ready")?;
        return Ok(ExitCode::SUCCESS);
    }
    let start = Instant::now();
    for object in options.selection.some(&client, &options.object)? {
        let title = format!("{}/{}", target::kind_of(&object.kind)?.qualified(), object.name);
        let left = options.timeout.saturating_sub(start.elapsed());
        until(&client, &goal(&options.what, object)?, left)?;
        say(&format!("{title} condition met"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn goal(what: &str, object: Named) -> Result<Goal, ApiError> {
    if let Some(condition) = what.strip_prefix("condition=") {
        let (name, value) = condition.split_once('=').unwrap_or((condition, "True"));
        return Ok(Goal::Condition { object, name: name.to_owned(), value: value.to_owned() });
    }
    match what {
        "ready" => Ok(Goal::Ready { object }),
        "delete" | "deleted" => Ok(Goal::Gone { object, uid: None }),
        _ => Err(failure(format!("--for {what}: write ready, synced, deleted or condition=NAME"))),
    }
}

pub(super) fn until(client: &Client, goal: &Goal, timeout: Duration) -> Result<(), ApiError> {
    following(client, goal, timeout, |_| {})
}

/// As `until`, telling every time how far it is.
pub(super) fn following(
    client: &Client,
    goal: &Goal,
    timeout: Duration,
    mut tell: impl FnMut(&str),
) -> Result<(), ApiError> {
    let start = Instant::now();
    let goal = match goal {
        Goal::Synced { version: None } => {
            let now: Value = client.call("version", &Value::Null)?;
            Goal::Synced { version: Some(now["resourceVersion"].as_u64().unwrap_or(0)) }
        }
        goal => goal.clone(),
    };
    loop {
        let (done, sentence) = look(client, &goal)?;
        tell(&sentence);
        if done {
            return Ok(());
        }
        if start.elapsed() >= timeout {
            return Err(failure(format!("timed out after {:.1}s: {sentence}", timeout.as_secs_f64())));
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether it is so, and how it is.
fn look(client: &Client, goal: &Goal) -> Result<(bool, String), ApiError> {
    let verdict = |lack: Option<String>| (lack.is_none(), lack.unwrap_or_default());
    Ok(match goal {
        Goal::AllReady { namespace } => verdict(all_lack(client, namespace.as_deref())?),
        Goal::Ready { object } => match target::get_one(client, object) {
            Ok(found) => verdict(readiness::lacks(&found)),
            Err(error) => return Err(error),
        },
        Goal::Synced { version } => {
            let answer: Value = client.call("synced", &json!({"version": version.unwrap_or(0)}))?;
            (answer["synced"] == true, answer["why"].as_str().unwrap_or_default().to_owned())
        }
        Goal::Gone { object, uid } => match target::get_one(client, object) {
            Ok(found) => {
                let another = uid.as_ref().is_some_and(|uid| found["metadata"]["uid"] != uid.as_str());
                (another, format!("{} \"{}\" is still there", object.kind, object.name))
            }
            Err(error) if error.reason == "NotFound" => (true, String::new()),
            Err(error) => return Err(error),
        },
        Goal::Condition { object, name, value } => {
            let found = target::get_one(client, object)?;
            let status =
                readiness::condition(&found, name).map(|found| found["status"].as_str().unwrap_or_default());
            let met = status.is_some_and(|status| status.eq_ignore_ascii_case(value));
            (met, format!("condition {name} of {} is {}", object.name, status.unwrap_or("absent")))
        }
        Goal::RolledOut { object } => {
            let found = target::get_one(client, object)?;
            progress(&target::kind_of(&object.kind)?.kind.to_lowercase(), &found)
        }
    })
}

/// The first workload or pod that is not ready. Pods that end do not count, nor do those of a finished job.
fn all_lack(client: &Client, namespace: Option<&str>) -> Result<Option<String>, ApiError> {
    for kind in ["pods", "deployments", "statefulsets", "daemonsets"] {
        for object in target::list(client, kind, namespace)? {
            if !object["metadata"]["deletionTimestamp"].is_null() || is_of_a_job(&object) {
                continue;
            }
            if let Some(lack) = readiness::lacks(&object) {
                let metadata = &object["metadata"];
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
                return Ok(Some(format!("{kind} {namespace}/{name}: {lack}")));
            }
        }
    }
    Ok(None)
}

fn is_of_a_job(object: &Value) -> bool {
    let owners = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    owners.into_iter().any(|owner| owner["kind"] == "Job")
}
