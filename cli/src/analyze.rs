//! `heddle analyze`: what is wrong between objects, of files or of a running mesh.

mod kinds;

use std::io;
use std::process::ExitCode;

use heddle_api::analyze::analyze;
use heddle_api::diagnostic::Diagnostic;
use heddle_api::kind::KINDS;
use heddle_api::manifest;
use heddle_api::object::Object;
use heddle_sandbox::client::Client;
use heddle_sandbox::fabric::Layout;
use heddle_sandbox::server::Get;
use serde_json::Value;

use crate::output::{self, Format};
use crate::validate::{self, sources};
use crate::which::{Chosen, Which};

/// Check objects against each other.
///
/// Beside what `heddle validate` says of each object, this finds what is wrong between them: hosts, subsets, ports,
/// Secrets and delegates that are not there, rules that no request reaches, several objects that speak for one host,
/// VirtualServices behind a route of the Gateway API, backends without a ReferenceGrant, policies that select nobody,
/// NetworkPolicies that keep the tunnel's port 15008 out. Codes are those of `istioctl analyze` where it knows the same
/// condition (IST0101 …), else HDL0001 ….
///
/// With -f the files are all there is; without it, the objects of the cluster (or sandbox). Kinds that the cluster does not
/// have, or that you may not list, are named on standard error and left out.
///
/// Ends with 0 if nothing is wrong (there may be warnings), 1 if anything is, 2 if it was called wrongly or a path could
/// not be read.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:\n  heddle analyze\n  heddle analyze -f manifests/ -R -o json")]
pub(crate) struct Options {
    /// A file, a directory (its .yaml, .yml and .json files), or - for standard input; repeatable.
    #[arg(short, long = "filename", value_name = "FILE|DIR|-", num_args = 1..)]
    filename: Vec<String>,
    /// Look into directories below, too.
    #[arg(short = 'R', long, requires = "filename")]
    recursive: bool,
    /// Namespace of objects in files that name none; of a running mesh, only findings about this one.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Of a running mesh, findings about all namespaces (as without -n).
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    #[command(flatten)]
    which: Which,
    /// How to print what was found; json prints an array, empty if there is nothing to say.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Objects with their places, and what was found in reading them.
#[derive(Default)]
struct Read {
    /// (source, document, object), in order.
    objects: Vec<(usize, usize, Object)>,
    names: Vec<String>,
    found: Vec<(usize, Diagnostic)>,
}

/// Checks and prints.
pub(crate) fn run(options: &Options) -> io::Result<ExitCode> {
    let read = if options.filename.is_empty() { mesh(options)? } else { files(options) };
    let found = together(read, options);
    let objects = found.1;
    output::print(options.output, &found.0, |out| validate::report(out, &found.0, objects))?;
    Ok(validate::verdict(&found.0))
}

fn files(options: &Options) -> Read {
    let mut read = Read::default();
    let namespace = options.namespace.as_deref().unwrap_or("default");
    for (number, source) in sources::read(&options.filename, options.recursive).into_iter().enumerate() {
        match source.text {
            Ok(text) => {
                let parsed = manifest::parse(&source.name, &text);
                read.found.extend(parsed.diagnostics.into_iter().map(|diagnostic| (number, diagnostic)));
                for (document, mut object) in parsed.objects {
                    object.default_namespace(namespace);
                    read.objects.push((number, document, object));
                }
            }
            Err(problem) => read.found.push((number, Diagnostic::of_document(&source.name, 0, problem))),
        }
        read.names.push(source.name);
    }
    read
}

/// Everything that the mesh has; the kinds of a mesh are checked by themselves too.
fn mesh(options: &Options) -> io::Result<Read> {
    let (name, values) = match options.which.choose()? {
        Chosen::Sandbox(name) => (format!("sandbox/{name}"), of_sandbox(&name)?),
        Chosen::Cluster => {
            let cluster = options.which.cluster()?;
            let found = kinds::all(&cluster)?;
            found.left_out.iter().for_each(|why| eprintln!("heddle: {why}"));
            (format!("cluster/{}", cluster.name), found.objects)
        }
    };
    let mut read = Read { names: vec![name.clone()], ..Read::default() };
    for value in values {
        let Ok(mut object) = Object::from_value(value) else { continue };
        let document = read.objects.len();
        if object.kind.group.contains("istio.io") || object.kind.group.starts_with("gateway.") {
            let problems = manifest::check(&mut object).into_iter();
            let diagnostics =
                problems.map(|problem| (0, Diagnostic::of_object(&name, document, &object, problem)));
            read.found.extend(diagnostics);
        }
        read.objects.push((0, document, object));
    }
    Ok(read)
}

fn of_sandbox(name: &str) -> io::Result<Vec<Value>> {
    let say = |error: heddle_sandbox::server::ApiError| io::Error::other(error.message);
    heddle_sandbox::up::check_root()?;
    let client = Client::open(&Layout::new(name)).map_err(say)?;
    let mut found = Vec::new();
    for kind in KINDS {
        let request = Get { kind: kind.qualified(), namespace: None, name: None };
        let values: Vec<Value> = client.call("get", &request).map_err(say)?;
        found.extend(values);
    }
    Ok(found)
}

/// All findings in the order of the sources, and the number of objects.
fn together(read: Read, options: &Options) -> (Vec<Diagnostic>, usize) {
    let Read { objects, names, mut found } = read;
    let list: Vec<&Object> = objects.iter().map(|(_, _, object)| object).collect();
    for finding in analyze(&list) {
        let Some((source, document, object)) = objects.get(finding.object) else { continue };
        let name = names.get(*source).map_or("", String::as_str);
        found.push((*source, Diagnostic::of_object(name, *document, object, finding.problem)));
    }
    found.sort_by_key(|(source, diagnostic)| (*source, diagnostic.document));
    let all = options.all_namespaces || !options.filename.is_empty();
    let wanted = options.namespace.as_deref().filter(|_| !all);
    let found = found.into_iter().map(|(_, diagnostic)| diagnostic);
    (found.filter(|each| wanted.is_none_or(|wanted| each.namespace == wanted)).collect(), objects.len())
}
