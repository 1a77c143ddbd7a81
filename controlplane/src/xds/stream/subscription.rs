//! What an agent wants of a type: everything, or some names.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::index::table::Table;

/// What an agent wants of a type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Subscription {
    /// It did not ask yet.
    #[default]
    None,
    /// Everything.
    All,
    /// These.
    Names(BTreeSet<String>),
}

impl Subscription {
    pub(super) fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// Whether this very name was asked for.
    pub(super) fn names(&self, name: &str) -> bool {
        matches!(self, Self::Names(names) if names.contains(name))
    }

    /// The first request: no name, or `*`, asks for everything (xDS, "wildcard").
    pub(super) fn begin(&mut self, names: Vec<String>) {
        let everything = names.is_empty() || names.iter().any(|name| name == "*");
        *self = if everything { Self::All } else { Self::Names(names.into_iter().collect()) };
    }

    /// A later request. Gives back the names whose held versions no longer count.
    pub(super) fn change(&mut self, more: Vec<String>, fewer: Vec<String>) -> Vec<String> {
        if more.iter().any(|name| name == "*") {
            *self = Self::All;
        }
        if fewer.iter().any(|name| name == "*") {
            *self = Self::Names(BTreeSet::new());
        }
        if let Self::Names(names) = self {
            names.extend(more.iter().filter(|name| *name != "*").cloned());
            for name in &fewer {
                names.remove(name);
            }
        }
        more.into_iter().chain(fewer).filter(|name| name != "*").collect()
    }

    /// Names that the agent should hold, where they exist, or be told that they do not.
    pub(super) fn wanted<'a>(&'a self, table: &'a Table) -> Box<dyn Iterator<Item = Arc<str>> + 'a> {
        match self {
            Self::None => Box::new(std::iter::empty()),
            Self::All => Box::new(table.iter().map(|(name, _)| name.clone())),
            Self::Names(names) => Box::new(names.iter().map(|name| name.as_str().into())),
        }
    }
}
