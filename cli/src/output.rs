//! What every verb prints: tables that fit the terminal, JSON, YAML; and how it ends.

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

pub(crate) mod table;
pub(crate) mod version;

pub(crate) use table::Table;

/// How a verb prints. With `json`, standard output is JSON and nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For manifests.
    Yaml,
}

/// Prints a value as JSON or YAML, or by `table` for people.
pub(crate) fn print<T: Serialize>(
    format: Format,
    value: &T,
    table: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<ExitCode> {
    match format {
        Format::Json => json(value),
        Format::Yaml => yaml(value),
        Format::Table => text(table),
    }
}

/// Prints a value as indented JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> io::Result<ExitCode> {
    text(|out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        out.write_all(b"\n")
    })
}

/// Prints a value as YAML.
pub(crate) fn yaml<T: Serialize>(value: &T) -> io::Result<ExitCode> {
    let options = serde_saphyr::ser_options! { compact_list_indent: true };
    let printed = serde_saphyr::to_string_with_options(value, options).map_err(io::Error::other)?;
    text(|out| out.write_all(printed.as_bytes()))
}

/// Prints through one buffer, and flushes it.
pub(crate) fn text(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<ExitCode> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    write(&mut out)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// The end of the program: a reader that has seen enough (`| head`) is no failure, anything else is said.
pub(crate) fn exit(done: io::Result<ExitCode>) -> ExitCode {
    match done {
        Ok(code) => code,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "heddle: {error}");
            ExitCode::FAILURE
        }
    }
}
