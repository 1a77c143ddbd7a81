//! `logs`: what a container printed.
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use heddle_sandbox::client::Client;
use heddle_sandbox::server::{ApiError, Named};
use serde_json::Value;

use super::{Which, failure, target};

const PAUSE: Duration = Duration::from_millis(100);

/// Print what a container wrote to its standard output and error.
#[derive(Args)]
pub(crate) struct LogsOptions {
    #[command(flatten)]
    which: Which,
    /// POD or deploy/NAME (or another workload).
    #[arg(required_unless_present = "selector", conflicts_with = "selector")]
    pod: Option<String>,
    /// Of every pod with these labels, one after the other.
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "follow")]
    selector: Option<String>,
    /// Which container of the pod; its first by default.
    #[arg(short, long)]
    container: Option<String>,
    /// Namespace of the pod.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Go on until the pod is gone.
    #[arg(short, long)]
    follow: bool,
    /// Of the run before the last restart.
    #[arg(short, long)]
    previous: bool,
    /// Only so many lines from the end; -1 for all.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    tail: i64,
}

pub(super) fn logs(options: &LogsOptions) -> Result<ExitCode, ApiError> {
    let client = options.which.client()?;
    if let Some(word) = &options.pod {
        return of_pod(&client, &target::pod(&client, word, &options.namespace)?, options);
    }
    let selected = target::selected(options.selector.as_deref())?;
    let pods = target::list(&client, "pods", Some(&options.namespace))?;
    for pod in pods.iter().filter(|pod| selected(pod)) {
        of_pod(&client, pod, options)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn of_pod(client: &Client, pod: &Value, options: &LogsOptions) -> Result<ExitCode, ApiError> {
    let container = target::container(pod, options.container.as_deref())?;
    let uid = text(&pod["metadata"]["uid"]);
    let mut path = client.layout().container_log(&uid, &container);
    if options.previous {
        path = PathBuf::from(format!("{}.1", path.display()));
    }
    if !path.exists() && options.previous {
        let name = text(&pod["metadata"]["name"]);
        return Err(failure(format!(
            "previous terminated container \"{container}\" in pod \"{name}\" not found"
        )));
    }
    let mut position = print_tail(&path, options.tail)?;
    let name = text(&pod["metadata"]["name"]);
    let named = Named { kind: "pod".to_owned(), namespace: Some(options.namespace.clone()), name };
    if !options.follow || options.previous {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        // Asked before the last look, so that what a pod says as it ends is printed too.
        let here = exists(client, &named, &uid);
        position = print_from(&path, position)?;
        if !here {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(PAUSE);
    }
}

fn exists(client: &Client, named: &Named, uid: &str) -> bool {
    target::get_one(client, named).is_ok_and(|pod| {
        pod["metadata"]["uid"] == uid
            && pod["status"]["phase"] != "Succeeded"
            && pod["status"]["phase"] != "Failed"
    })
}

/// Prints the last lines; where the file ended.
fn print_tail(path: &Path, lines: i64) -> Result<u64, ApiError> {
    let content = match std::fs::read(path) {
        Ok(content) => content,
        // The container has not started yet: it has said nothing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    io::stdout().write_all(last_lines(&content, usize::try_from(lines).ok()))?;
    Ok(u64::try_from(content.len()).unwrap_or(0))
}

fn last_lines(content: &[u8], lines: Option<usize>) -> &[u8] {
    let Some(lines) = lines else { return content };
    let body = content.strip_suffix(b"\n").unwrap_or(content);
    let breaks = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    match lines {
        0 => &content[content.len()..],
        lines => &content[breaks.into_iter().nth(lines - 1).unwrap_or(0)..],
    }
}

/// Prints what was added; a shorter file is that of a restarted container.
fn print_from(path: &Path, position: u64) -> Result<u64, ApiError> {
    let Ok(mut file) = File::open(path) else { return Ok(0) };
    let length = file.metadata()?.len();
    let start = if length < position { 0 } else { position };
    file.seek(SeekFrom::Start(start))?;
    let mut added = Vec::new();
    file.read_to_end(&mut added)?;
    let mut out = io::stdout();
    out.write_all(&added)?;
    out.flush()?;
    Ok(start + u64::try_from(added.len()).unwrap_or(0))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_whole_lines() {
        let content = b"a\nb\nc\n";
        for (lines, expected) in [
            (None, "a\nb\nc\n"),
            (Some(0), ""),
            (Some(1), "c\n"),
            (Some(2), "b\nc\n"),
            (Some(9), "a\nb\nc\n"),
        ] {
            assert_eq!(last_lines(content, lines), expected.as_bytes(), "{lines:?}");
        }
    }
}
