//! `get`: objects as a table, as JSON or YAML, or by name.
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use heddle_api::kind::KindInfo;
use heddle_sandbox::client::Client;
use heddle_sandbox::server::{ApiError, Get};
use serde_json::{Value, json};

use super::{Which, columns, complain, failure, selection, target};
use crate::output;

/// Show objects.
#[derive(Args)]
pub(crate) struct GetOptions {
    #[command(flatten)]
    which: Which,
    /// KIND, KIND NAME…, KIND/NAME…, several kinds with commas between, or all.
    #[arg(required = true, num_args = 1..)]
    object: Vec<String>,
    /// Namespace of the objects.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Those of all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only objects with these labels.
    #[arg(short = 'l', long)]
    selector: Option<String>,
    /// How to print them.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    /// Leave the header out.
    #[arg(long)]
    no_headers: bool,
    /// No error for an object that does not exist.
    #[arg(long)]
    ignore_not_found: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Table,
    Wide,
    Json,
    Yaml,
    Name,
}

/// The objects of one kind; `single` when one was asked for by name.
struct Found {
    kind: &'static KindInfo,
    objects: Vec<Value>,
}

pub(super) fn get(options: &GetOptions) -> Result<ExitCode, ApiError> {
    let client = options.which.client()?;
    let (found, single, failed) = find(&client, options)?;
    match options.output {
        Output::Json => {
            output::json(&listed(found, single))?;
        }
        Output::Yaml => {
            output::yaml(&listed(found, single))?;
        }
        Output::Name => {
            output::text(|out| {
                for (found, object) in
                    found.iter().flat_map(|found| found.objects.iter().map(move |object| (found, object)))
                {
                    writeln!(
                        out,
                        "{}/{}",
                        found.kind.qualified(),
                        object["metadata"]["name"].as_str().unwrap_or_default()
                    )?;
                }
                Ok(())
            })?;
        }
        Output::Table | Output::Wide => table(options, &found)?,
    }
    if found_nothing(options, failed) { Ok(ExitCode::FAILURE) } else { Ok(ExitCode::SUCCESS) }
}

fn found_nothing(options: &GetOptions, failed: bool) -> bool {
    failed && !options.ignore_not_found
}

fn find(client: &Client, options: &GetOptions) -> Result<(Vec<Found>, bool, bool), ApiError> {
    let first = &options.object[0];
    let pairs: Vec<(&'static KindInfo, Option<String>)> = if first.contains('/') || options.object.len() > 1 {
        if options.all_namespaces {
            return Err(failure("a resource cannot be retrieved by name across all namespaces"));
        }
        selection::pairs(&options.object)?.into_iter().map(|(kind, name)| (kind, Some(name))).collect()
    } else {
        selection::kinds(first)?.into_iter().map(|kind| (kind, None)).collect()
    };
    let single = pairs.len() == 1 && pairs[0].1.is_some();
    let selected = target::selected(options.selector.as_deref())?;
    let (mut found, mut failed): (Vec<Found>, bool) = (Vec::new(), false);
    for (kind, name) in pairs {
        let namespace = (!options.all_namespaces).then(|| options.namespace.clone());
        match client.call::<Vec<Value>>("get", &Get { kind: selection::word(kind), namespace, name }) {
            Ok(mut objects) => {
                objects.retain(&selected);
                match found.iter_mut().find(|other| other.kind == kind) {
                    Some(other) => other.objects.extend(objects),
                    None => found.push(Found { kind, objects }),
                }
            }
            Err(error) if error.reason == "NotFound" => {
                if !options.ignore_not_found {
                    complain(&error);
                }
                failed = true;
            }
            Err(error) => return Err(error),
        }
    }
    Ok((found, single, failed))
}

/// One object by name is itself; anything else is a List.
fn listed(found: Vec<Found>, single: bool) -> Value {
    let mut items: Vec<Value> = found.into_iter().flat_map(|found| found.objects).collect();
    if single && items.len() == 1 {
        return items.remove(0);
    }
    json!({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}})
}

fn table(options: &GetOptions, found: &[Found]) -> Result<(), ApiError> {
    if found.iter().all(|found| found.objects.is_empty()) {
        let place = if options.all_namespaces {
            String::new()
        } else {
            format!(" in {} namespace", options.namespace)
        };
        let namespaced = found.iter().any(|found| found.kind.namespaced);
        if !found.is_empty() {
            eprintln!("No resources found{}", if namespaced { format!("{place}.") } else { ".".to_owned() });
        }
        return Ok(());
    }
    output::text(|out| {
        let filled: Vec<&Found> = found.iter().filter(|found| !found.objects.is_empty()).collect();
        for (index, one) in filled.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            let wide = options.output == Output::Wide;
            let prefix = (found.len() > 1).then(|| one.kind.qualified());
            let shape = columns::Shape {
                wide,
                with_namespace: options.all_namespaces && one.kind.namespaced,
                prefix,
            };
            let table = columns::table(one.kind, &one.objects, &shape);
            if options.no_headers { table.without_header().write(out)? } else { table.write(out)? }
        }
        Ok(())
    })?;
    Ok(())
}
