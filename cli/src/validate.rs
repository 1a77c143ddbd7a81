//! `heddle validate`: objects one at a time, as they will be taken.

use std::io::{self, Write};
use std::process::ExitCode;

use heddle_api::diagnostic::{Code, Diagnostic};
use heddle_api::manifest;

use crate::output::{self, Format};

pub(crate) mod sources;

const EXAMPLES: &str = "Examples:
  heddle validate -f policy.yaml
  heddle validate -f manifests/ -R -o json
  helm template chart | heddle validate -f -";

/// Check manifests without a cluster.
///
/// Each object is checked by itself: its kind, every field at any depth (a misspelt one is an error that shows the
/// right name), types, names, labels and ports as the API server would check them, and what Istio refuses. YAML and
/// JSON are taken, with any number of documents; a broken document does not hide the others.
///
/// Ends with 0 if all is valid (there may be warnings), 1 if anything is invalid, 2 if it was called wrongly or a
/// path could not be read.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Options {
    /// A file, a directory (its .yaml, .yml and .json files), or - for standard input; repeatable.
    #[arg(short, long = "filename", value_name = "FILE|DIR|-", required = true, num_args = 1..)]
    filename: Vec<String>,
    /// Look into directories below, too.
    #[arg(short = 'R', long)]
    recursive: bool,
    /// How to print what was found; json prints an array, empty if there is nothing to say.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Checks and prints.
pub(crate) fn run(options: &Options) -> io::Result<ExitCode> {
    let mut found: Vec<Diagnostic> = Vec::new();
    let mut objects = 0;
    for source in sources::read(&options.filename, options.recursive) {
        match source.text {
            Ok(text) => {
                let mut parsed = manifest::parse(&source.name, &text);
                objects += parsed.objects.len();
                found.append(&mut parsed.diagnostics);
            }
            Err(problem) => found.push(Diagnostic::of_document(&source.name, 0, problem)),
        }
    }
    output::print(options.output, &found, |out| report(out, &found, objects))?;
    Ok(verdict(&found))
}

/// A line for each finding, and one for all.
pub(crate) fn report(out: &mut dyn Write, found: &[Diagnostic], objects: usize) -> io::Result<()> {
    for diagnostic in found {
        writeln!(out, "{diagnostic}")?;
    }
    let errors = found.iter().filter(|each| each.is_error()).count();
    let plural = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    writeln!(
        out,
        "{} valid, {}, {}",
        plural(objects, "object"),
        plural(errors, "error"),
        plural(found.len() - errors, "warning")
    )
}

/// 0: valid, 1: not, 2: not read.
pub(crate) fn verdict(found: &[Diagnostic]) -> ExitCode {
    if found.iter().any(|each| each.code == Code::Unreadable) {
        ExitCode::from(2)
    } else if found.iter().any(Diagnostic::is_error) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
