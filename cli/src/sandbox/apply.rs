//! `apply -f` and `delete`.
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use heddle_api::manifest;
use heddle_sandbox::client::Client;
use heddle_sandbox::images::ImageMap;
use heddle_sandbox::server::{ApiError, Applied, Apply, Delete, Manifest, Named};
use serde_json::Value;

use super::selection::Selection;
use super::wait::{self, Goal};
use super::{Which, complain, failure, say, up};
use crate::duration;
use crate::validate::sources;

/// Create or change objects from manifests.
///
/// A misspelt field is an error; a valid field without effect in the sandbox is a warning, once.
#[derive(Args)]
pub(crate) struct ApplyOptions {
    #[command(flatten)]
    which: Which,
    /// A file, a directory, or - for standard input.
    #[arg(short, long = "filename", value_name = "FILE|DIR|-", required = true)]
    file: Vec<String>,
    /// Read directories below directories too.
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Namespace of objects that name none.
    #[arg(short, long)]
    namespace: Option<String>,
    /// What runs for an image.
    #[arg(long, value_name = "NAME=PROGRAM")]
    image: Vec<String>,
}

/// Delete objects by manifest or by name.
#[derive(Args)]
pub(crate) struct DeleteOptions {
    #[command(flatten)]
    which: Which,
    /// A file, a directory, or - for standard input.
    #[arg(short, long = "filename", value_name = "FILE|DIR|-", conflicts_with = "object")]
    file: Vec<String>,
    /// KIND NAME…, KIND/NAME…, or KIND with --all or -l.
    object: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// No error for an object that does not exist.
    #[arg(long)]
    ignore_not_found: bool,
    /// Seconds that a pod may take to end, instead of its own.
    #[arg(long)]
    grace_period: Option<i64>,
    /// Wait until the objects are gone.
    #[arg(long, value_name = "true|false", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1,
          default_missing_value = "true", require_equals = true)]
    wait: bool,
    /// How long to wait.
    #[arg(long, default_value = "60s", value_parser = duration::parse)]
    timeout: Duration,
}

/// The texts behind `-f`, read before anything is changed.
pub(super) struct Sources(Vec<Manifest>);

impl Sources {
    pub(super) fn read(files: &[String], recursive: bool) -> Result<Sources, ApiError> {
        let read = sources::read(files, recursive).into_iter().map(|source| match source.text {
            Ok(text) => Ok(Manifest { file: source.name, text }),
            Err(problem) => Err(failure(format!("{}: {}", source.name, problem.message))),
        });
        read.collect::<Result<_, _>>().map(Sources)
    }
}

pub(super) fn apply(options: &ApplyOptions) -> Result<ExitCode, ApiError> {
    let client = options.which.client()?;
    let sources = Sources::read(&options.file, options.recursive)?;
    let images = up::images(&options.image)?;
    let show = |line: &str| {
        let _ = say(line);
    };
    let good = send(&client, &sources, options.namespace.clone(), &images, show)?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Applies, shows what came of it, and says whether all went well.
pub(super) fn send(
    client: &Client,
    sources: &Sources,
    namespace: Option<String>,
    images: &ImageMap,
    show: impl Fn(&str),
) -> Result<bool, ApiError> {
    let request = Apply { manifests: sources.0.clone(), namespace, images: images.clone() };
    let applied: Applied = client.call("apply", &request)?;
    let mut err = io::stderr().lock();
    for warning in &applied.warnings {
        writeln!(err, "Warning: {warning}")?;
    }
    for line in &applied.done {
        show(line);
    }
    for error in &applied.errors {
        writeln!(err, "error: {error}")?;
    }
    Ok(applied.errors.is_empty())
}

pub(super) fn delete(options: &DeleteOptions) -> Result<ExitCode, ApiError> {
    let client = options.which.client()?;
    let (objects, mut code) = match options.file.is_empty() {
        true => (options.selection.objects(&client, &options.object)?, ExitCode::SUCCESS),
        false => from_manifests(options)?,
    };
    let mut leaving = Vec::new();
    for object in objects {
        let request = Delete { object: object.clone(), grace: options.grace_period };
        match client.call::<Value>("delete", &request) {
            Ok(answer) => {
                say(answer["done"].as_str().unwrap_or_default())?;
                leaving.push((object, answer["uid"].as_str().unwrap_or_default().to_owned()));
            }
            Err(error) if error.reason == "NotFound" && options.ignore_not_found => {}
            Err(error) => {
                complain(&error);
                code = ExitCode::FAILURE;
            }
        }
    }
    for (object, uid) in leaving.into_iter().filter(|_| options.wait) {
        wait::until(&client, &Goal::Gone { object, uid: Some(uid) }, options.timeout)?;
    }
    Ok(code)
}

fn from_manifests(options: &DeleteOptions) -> Result<(Vec<Named>, ExitCode), ApiError> {
    let (mut objects, mut code) = (Vec::new(), ExitCode::SUCCESS);
    for Manifest { file, text } in &Sources::read(&options.file, false)?.0 {
        let parsed = manifest::parse(file, text);
        for diagnostic in parsed.diagnostics.iter().filter(|diagnostic| diagnostic.is_error()) {
            writeln!(io::stderr(), "error: {diagnostic}")?;
            code = ExitCode::FAILURE;
        }
        for (_, mut object) in parsed.objects {
            object.default_namespace(options.selection.namespace.as_deref().unwrap_or("default"));
            let kind = object.kind.directory().trim_end_matches(".core").to_owned();
            objects.push(Named { kind, namespace: object.namespace, name: object.name });
        }
    }
    Ok((objects, code))
}
