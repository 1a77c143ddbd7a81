//! The commands of the specification: what to print, from what was asked and what the agent says.

use std::time::Duration;

use serde_json::{Value, json};

use crate::ask::{AskError, ask};
use crate::enrolled::Enrolled;
use crate::error::{CniError, Code};
use crate::invocation::{Config, Environment};
use crate::protocol::{Answer, Attachment, Key, Request};
use crate::{result, version};

/// For an answer that the agent has at once.
const SOON: Duration = Duration::from_secs(10);

/// What goes to standard output; the exit code is 0 only without an error.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Nothing, as the specification has it for DEL, CHECK, GC and STATUS.
    Nothing,
    /// A result.
    Result(Value),
    /// An error object.
    Error(Value),
}

/// Serves one call.
pub fn run(environment: &Environment, stdin: &[u8]) -> Output {
    let command = environment.command().unwrap_or_default();
    let config = match Config::read(stdin) {
        Ok(config) => config,
        // A runtime that only wants to know versions may send nothing.
        Err(_) if command == "VERSION" && stdin.trim_ascii().is_empty() => return versions(version::NEWEST),
        Err(error) => return Output::Error(error.output(version::NEWEST)),
    };
    if command == "VERSION" {
        return versions(&config.cni_version);
    }
    let spoken = if version::SUPPORTED.contains(&&*config.cni_version) {
        &config.cni_version
    } else {
        version::NEWEST
    };
    match serve(command, environment, &config) {
        Ok(output) => output,
        Err(error) => Output::Error(error.output(spoken)),
    }
}

fn versions(asked: &str) -> Output {
    let asked = if asked.is_empty() { version::NEWEST } else { asked };
    Output::Result(json!({ "cniVersion": asked, "supportedVersions": version::SUPPORTED }))
}

fn serve(command: &str, environment: &Environment, config: &Config) -> Result<Output, CniError> {
    if !["ADD", "DEL", "CHECK", "GC", "STATUS"].contains(&command) {
        let details = format!("CNI_COMMAND is '{command}'; it can be ADD, DEL, CHECK, GC, STATUS or VERSION");
        return Err(CniError::new(Code::ENVIRONMENT, "invalid environment variables", details));
    }
    version::check(&config.cni_version, command)?;
    config.check()?;
    match command {
        "ADD" => add(environment, config),
        "CHECK" => check(environment, config),
        "DEL" => Ok(delete(environment.key()?, config)),
        "GC" => collect(config),
        _ => status(config),
    }
}

fn add(environment: &Environment, config: &Config) -> Result<Output, CniError> {
    let (attachment, previous) = attachment(environment, config)?;
    if let Some(attachment) = attachment {
        let excluded = attachment.excluded;
        let namespace = attachment.namespace.clone();
        match ask(&config.socket, &Request::Add(attachment), config.timeout()) {
            Ok(Answer::Ok) => {}
            Ok(Answer::Error(error)) => return Err(error),
            Err(_) if excluded => {}
            Err(error) => without_agent(&namespace, &error, config)?,
        }
    }
    Ok(Output::Result(result::passed_through(previous, &config.cni_version)))
}

/// The pod as the agent is told of it, where it is a pod; and the result to pass through.
fn attachment(environment: &Environment, config: &Config) -> Result<(Option<Attachment>, Value), CniError> {
    let (key, netns) = (environment.key()?, environment.netns()?);
    let Some(previous) = config.prev_result.clone().filter(Value::is_object) else {
        let details =
            "prevResult is missing: heddle-cni comes after the plugin that makes the pod's interface";
        return Err(CniError::new(Code::CONFIG, "invalid network configuration", details));
    };
    let Some(pod) = environment.pod()? else { return Ok((None, previous)) };
    let ips = result::addresses(&previous)?;
    let excluded = config.excludes(&pod.namespace);
    let (namespace, name, uid) = (pod.namespace, pod.name, pod.uid);
    Ok((Some(Attachment { key, netns, namespace, name, uid, ips, excluded }), previous))
}

/// While the agent is away pods start where nothing is enrolled, and only there.
fn without_agent(namespace: &str, error: &AskError, config: &Config) -> Result<(), CniError> {
    let again = |details| CniError::new(Code::AGAIN, "the pod cannot be captured now", details);
    match error {
        AskError::Untrusted(reason) => {
            Err(CniError::new(Code::UNTRUSTED, "the agent's socket is not to be trusted", reason.as_str()))
        }
        AskError::Broken(..) => Err(again(format!("{error}; the runtime tries again"))),
        AskError::Away(_) => match Enrolled::read(&config.namespaces_file) {
            Ok(Some(enrolled)) if !enrolled.holds(namespace) => Ok(()),
            Ok(Some(_)) => Err(again(format!(
                "{error}, and namespace {namespace} is enrolled: its pods start once heddle-agent runs on this node"
            ))),
            Ok(None) => Err(again(format!(
                "{error}, and since this node booted none has said which namespaces are enrolled: pods start once \
                 heddle-agent runs on this node"
            ))),
            Err(distrust) => Err(CniError::new(
                Code::UNTRUSTED,
                "which namespaces are enrolled is not known",
                distrust.to_string(),
            )),
        },
    }
}

fn check(environment: &Environment, config: &Config) -> Result<Output, CniError> {
    let (Some(attachment), _) = attachment(environment, config)? else { return Ok(Output::Nothing) };
    let (excluded, namespace) = (attachment.excluded, attachment.namespace.clone());
    match ask(&config.socket, &Request::Check(attachment), config.timeout()) {
        Ok(Answer::Ok) => Ok(Output::Nothing),
        Ok(Answer::Error(error)) => Err(error),
        Err(_) if excluded => Ok(Output::Nothing),
        Err(error) => without_agent(&namespace, &error, config).map(|()| Output::Nothing),
    }
}

/// What needs no waiting for a capture, or is wanted by a pod that ends, must not hold the runtime up.
fn soon(config: &Config) -> Duration {
    config.timeout().min(SOON)
}

/// Never an error: the agent finds out by itself that a namespace is gone, and a pod must be able to end.
fn delete(key: Key, config: &Config) -> Output {
    if let Err(error) = ask(&config.socket, &Request::Del(key), soon(config)) {
        eprintln!("heddle-cni: {error}; it will find the pod gone");
    }
    Output::Nothing
}

fn collect(config: &Config) -> Result<Output, CniError> {
    let Some(valid) = &config.valid_attachments else {
        let details = "cni.dev/valid-attachments is missing";
        return Err(CniError::new(Code::CONFIG, "invalid network configuration", details));
    };
    let key = |valid: &crate::invocation::Valid| Key {
        container_id: valid.container_id.clone(),
        ifname: valid.ifname.clone(),
    };
    let valid = valid.iter().map(key).collect();
    match ask(&config.socket, &Request::Gc { valid }, soon(config)) {
        Ok(Answer::Error(error)) => Err(error),
        // What is away holds nothing that is in the way.
        Ok(Answer::Ok) | Err(AskError::Away(_)) => Ok(Output::Nothing),
        Err(error) => Err(CniError::new(Code::AGAIN, "nothing was collected", error.to_string())),
    }
}

/// Not ready only where no ADD would be served: a node that is not ready takes no pods at all.
fn status(config: &Config) -> Result<Output, CniError> {
    let unavailable =
        |details: String| CniError::new(Code::UNAVAILABLE, "heddle-agent is not ready", details);
    match ask(&config.socket, &Request::Status, soon(config)) {
        Ok(Answer::Ok) => Ok(Output::Nothing),
        Ok(Answer::Error(error)) => Err(error),
        Err(error @ AskError::Away(_)) => match Enrolled::read(&config.namespaces_file) {
            Ok(Some(_)) => Ok(Output::Nothing),
            Ok(None) => Err(unavailable(format!("{error}, and none has run since this node booted"))),
            Err(distrust) => Err(unavailable(distrust.to_string())),
        },
        Err(error) => Err(unavailable(error.to_string())),
    }
}
