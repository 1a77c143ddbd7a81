//! Which program stands for which container image.
pub mod app;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Images as people name them, without registry and tag, and what runs for them.
const WELL_KNOWN: &[(&str, Program)] = &[
    ("hashicorp/http-echo", Program::Ours("http-echo")),
    ("curlimages/curl", Program::Machine(&["curl"], &[])),
    ("library/busybox", Program::Machine(&[], &["sh"])),
    ("library/alpine", Program::Machine(&[], &["sh"])),
    ("library/nginx", Program::Ours("nginx")),
    ("nginxinc/nginx-unprivileged", Program::Ours("nginx")),
    ("kennethreitz/httpbin", Program::Ours("httpbin")),
    ("kong/httpbin", Program::Ours("httpbin")),
    ("mccutchen/go-httpbin", Program::Ours("go-httpbin")),
    ("k8s-staging-gateway-api/echo-basic", Program::Ours("echo")),
    ("k8s-staging-gateway-api/echo-advanced", Program::Ours("echo-advanced")),
    ("gateway-api/echo-basic", Program::Ours("echo")),
    ("gateway-api/conformance/echo-basic", Program::Ours("echo")),
    ("gateway-api/conformance/echo-advanced", Program::Ours("echo-advanced")),
    ("istio/app", Program::Ours("echo-advanced")),
    ("pause", Program::Machine(&["sleep", "infinity"], &[])),
];

#[derive(Clone, Copy, Debug)]
enum Program {
    /// A hidden verb of this binary.
    Ours(&'static str),
    /// The machine's own: entrypoint, and the arguments that a container's `args` replace.
    Machine(&'static [&'static str], &'static [&'static str]),
}

/// What an image brings: a container's `command` replaces `entrypoint` and `default_args`, its `args` only the latter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrypoint {
    pub entrypoint: Vec<String>,
    pub default_args: Vec<String>,
}

impl Entrypoint {
    /// The command line of a container.
    pub fn argv(&self, command: &[String], args: &[String]) -> Vec<String> {
        let (head, tail) = match (command.is_empty(), args.is_empty()) {
            (true, true) => (self.entrypoint.as_slice(), self.default_args.as_slice()),
            (true, false) => (self.entrypoint.as_slice(), args),
            (false, _) => (command, args),
        };
        head.iter().chain(tail).cloned().collect()
    }
}

/// The well-known images and those that `--image` added; kept in `sandbox.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageMap {
    added: BTreeMap<String, PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    #[error(
        "image {0:?} is not known here: nothing is pulled, images stand for programs of this machine; \
         add it with --image {0}=PROGRAM (on `heddle sandbox up` or `apply`)"
    )]
    Unknown(String),
    #[error("--image {0:?}: want NAME=PROGRAM")]
    Syntax(String),
    #[error("--image {name}={program}: {program} is no executable file")]
    NoProgram { name: String, program: String },
}

impl ImageMap {
    /// Takes one `--image NAME=PROGRAM`; PROGRAM is found as a shell would find it.
    pub fn add(&mut self, option: &str) -> Result<(), ImageError> {
        let parts = option.split_once('=').filter(|(name, program)| !name.is_empty() && !program.is_empty());
        let (name, program) = parts.ok_or_else(|| ImageError::Syntax(option.to_owned()))?;
        let missing = || ImageError::NoProgram { name: name.to_owned(), program: program.to_owned() };
        self.added.insert(name.to_owned(), executable(program).ok_or_else(missing)?);
        Ok(())
    }

    /// Adds what another map added.
    pub fn extend(&mut self, other: &ImageMap) {
        self.added.extend(other.added.clone());
    }

    /// What runs for an image.
    pub fn resolve(&self, image: &str) -> Result<Entrypoint, ImageError> {
        if let Some(program) =
            self.added.iter().find(|(name, _)| answers_to(image, name)).map(|(_, path)| path)
        {
            return Ok(Entrypoint {
                entrypoint: vec![program.display().to_string()],
                default_args: Vec::new(),
            });
        }
        let known = WELL_KNOWN.iter().find(|(name, _)| answers_to(image, name));
        let (_, program) = known.ok_or_else(|| ImageError::Unknown(image.to_owned()))?;
        Ok(match program {
            Program::Ours(verb) => {
                let own = std::env::current_exe().unwrap_or_else(|_error| PathBuf::from("/proc/self/exe"));
                let own = own.display().to_string();
                let entrypoint = vec![own, "sandbox-node".to_owned(), "app".to_owned(), (*verb).to_owned()];
                Entrypoint { entrypoint, default_args: Vec::new() }
            }
            Program::Machine(entrypoint, args) => {
                Entrypoint { entrypoint: owned(entrypoint), default_args: owned(args) }
            }
        })
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Whether an image of a manifest is the one that `name` names: with or without registry and tag, and with
/// or without `library/`, which Docker's registry adds to names of one word.
fn answers_to(image: &str, name: &str) -> bool {
    if image == name {
        return true;
    }
    let (image, name) = (path_of(image), path_of(name));
    let bare = |path: &str| path.strip_prefix("library/").unwrap_or(path).to_owned();
    let (image, name) = (bare(&image), bare(&name));
    image == name || image.ends_with(&format!("/{name}"))
}

/// `docker.io/hashicorp/http-echo:1.0@sha256:…` → `hashicorp/http-echo`
fn path_of(image: &str) -> String {
    let image = image.split('@').next().unwrap_or(image);
    let colon = image.rfind(':').filter(|colon| !image[*colon..].contains('/'));
    let image = colon.map_or(image, |colon| &image[..colon]);
    match image.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => rest.to_owned(),
        _ => image.to_owned(),
    }
}

fn executable(program: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let runnable = |path: &PathBuf| {
        path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return std::path::absolute(program).ok().filter(runnable);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(runnable)
}
