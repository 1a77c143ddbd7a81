//! Which objects a verb means: by name, by label, or all of a kind.
use clap::Args;
use heddle_api::kind::KindInfo;
use heddle_sandbox::client::Client;
use heddle_sandbox::server::{ApiError, Named};
use serde_json::Value;

use super::{failure, target};

/// What kubectl's `all` stands for.
const ALL: &str = "pods,services,daemonsets,deployments,replicasets,statefulsets,jobs";

/// The flags that select objects, beside the words that name them.
#[derive(Args, Clone, Debug)]
pub(super) struct Selection {
    /// Namespace of the objects.
    #[arg(short, long)]
    pub(super) namespace: Option<String>,
    /// Those of all namespaces; with --all or -l.
    #[arg(short = 'A', long)]
    pub(super) all_namespaces: bool,
    /// Every object of the kind with these labels.
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(super) selector: Option<String>,
    /// Every object of the kind.
    #[arg(long)]
    pub(super) all: bool,
}

impl Selection {
    /// The objects of `KIND/NAME…`, `KIND NAME…`, or `KIND` with `--all` or `-l`; at least one where nothing says "all".
    pub(super) fn objects(&self, client: &Client, words: &[String]) -> Result<Vec<Named>, ApiError> {
        let first = words.first().ok_or_else(|| failure("name the objects: KIND NAME or KIND/NAME"))?;
        if first.contains('/') || words.len() > 1 {
            self.refuse_names()?;
            return pairs(words)?.into_iter().map(|(kind, name)| Ok(self.named(kind, &name))).collect();
        }
        if !self.all && self.selector.is_none() {
            return Err(failure("resource(s) were provided, but no name was specified"));
        }
        let selected = target::selected(self.selector.as_deref())?;
        let mut found = Vec::new();
        for kind in kinds(first)? {
            let place = (!self.all_namespaces).then(|| self.namespace.as_deref().unwrap_or("default"));
            let objects = target::list(client, &word(kind), place.filter(|_| kind.namespaced))?;
            found.extend(objects.iter().filter(|object| selected(object)).map(|object| of(kind, object)));
        }
        Ok(found)
    }

    /// As [`Self::objects`], where nothing found is an error.
    pub(super) fn some(&self, client: &Client, words: &[String]) -> Result<Vec<Named>, ApiError> {
        let found = self.objects(client, words)?;
        if found.is_empty() { Err(failure("no matching resources found")) } else { Ok(found) }
    }

    fn refuse_names(&self) -> Result<(), ApiError> {
        if self.all_namespaces {
            return Err(failure("a resource cannot be selected by name across all namespaces"));
        }
        if self.all || self.selector.is_some() {
            return Err(failure("name cannot be provided when a selector is specified"));
        }
        Ok(())
    }

    fn named(&self, kind: &KindInfo, name: &str) -> Named {
        let namespace = self.namespace.as_deref().unwrap_or("default");
        Named {
            kind: word(kind),
            namespace: kind.namespaced.then(|| namespace.to_owned()),
            name: name.to_owned(),
        }
    }
}

/// `po,svc` and `all`.
pub(super) fn kinds(words: &str) -> Result<Vec<&'static KindInfo>, ApiError> {
    let words = if words == "all" { ALL } else { words };
    words.split(',').map(target::kind_of).collect()
}

/// `KIND/NAME…`, or `KIND NAME…` for each kind of a list.
pub(super) fn pairs(words: &[String]) -> Result<Vec<(&'static KindInfo, String)>, ApiError> {
    let Some(first) = words.first() else { return Ok(Vec::new()) };
    if !first.contains('/') {
        let kinds = kinds(first)?;
        let each = |kind| words[1..].iter().map(move |name| (kind, name.clone()));
        return Ok(kinds.into_iter().flat_map(each).collect());
    }
    let split = |word: &String| {
        let mixed = || failure("there is no need to mix KIND and KIND/NAME");
        let (kind, name) = word.split_once('/').filter(|(_, name)| !name.is_empty()).ok_or_else(mixed)?;
        Ok((target::kind_of(kind)?, name.to_owned()))
    };
    words.iter().map(split).collect()
}

/// A word that names this kind and no other.
pub(super) fn word(kind: &KindInfo) -> String {
    kind.directory().trim_end_matches(".core").to_owned()
}

fn of(kind: &KindInfo, object: &Value) -> Named {
    let text = |field: &str| object["metadata"][field].as_str().map(str::to_owned);
    Named { kind: word(kind), namespace: text("namespace"), name: text("name").unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn split(text: &str) -> Result<Vec<String>, String> {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        let found = pairs(&words).map_err(|error| error.message)?;
        Ok(found.iter().map(|(kind, name)| format!("{}/{name}", kind.kind)).collect())
    }

    #[test]
    fn objects_are_named_as_kubectl_has_them() {
        assert_eq!(split("po a b").unwrap(), ["Pod/a", "Pod/b"]);
        assert_eq!(split("deploy/a sts/b").unwrap(), ["Deployment/a", "StatefulSet/b"]);
        assert_eq!(split("deploy,svc a").unwrap(), ["Deployment/a", "Service/a"]);
        for wrong in ["po/a b", "po/ x", "nothing a"] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
        assert_eq!(kinds("all").unwrap().len(), 7);
        assert_eq!(word(kinds("deploy").unwrap()[0]), "deployments.apps");
        assert_eq!(word(kinds("po").unwrap()[0]), "pods");
    }
}
