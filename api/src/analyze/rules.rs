//! Rules of a VirtualService that no request reaches, because earlier ones take all that they ask for.

use std::collections::{HashMap, HashSet};

use crate::diagnostic::{Code, Severity};
use crate::report::{At, Notes};
use crate::route::virtual_service::schema::{HttpMatchRequest, StringMatch, VirtualServiceSpec};

/// What earlier rules match.
#[derive(Default)]
struct Earlier {
    /// The first rule that matches everything.
    all: Option<usize>,
    /// Matches as they stand, and the first rule that has each.
    same: HashMap<String, usize>,
    /// Prefixes of rules that ask nothing else.
    prefixes: HashMap<String, usize>,
}

pub(super) fn check(spec: &VirtualServiceSpec, at: &At<'_>, notes: &mut Notes) {
    let at = at.field("http");
    let mut earlier = Earlier::default();
    for (index, rule) in spec.http.iter().enumerate() {
        let at = at.index(index);
        if let Some(first) = earlier.all {
            let message = format!(
                "no request reaches this rule: rule {} before it matches everything; move it to the end",
                named(spec, first)
            );
            notes.put(Severity::Warning, Code::UnreachableRule, &at, message);
            continue;
        }
        let taken: Vec<Option<usize>> = rule.r#match.iter().map(|each| earlier.takes(each)).collect();
        if let Some(first) =
            taken.iter().copied().collect::<Option<HashSet<usize>>>().and_then(|all| all.into_iter().min())
        {
            let message = format!(
                "no request reaches this rule: rule {} before it has its matches; remove one of the two, or put this one first",
                named(spec, first)
            );
            notes.put(Severity::Warning, Code::UnreachableRule, &at, message);
        } else {
            let match_at = at.field("match");
            for (place, first) in
                taken.iter().enumerate().filter_map(|(place, first)| Some((place, (*first)?)))
            {
                let message = format!(
                    "no request reaches this match: rule {} before it takes them; remove it",
                    named(spec, first)
                );
                notes.put(Severity::Info, Code::IneffectiveMatch, &match_at.index(place), message);
            }
        }
        earlier.note(&rule.r#match, index);
    }
}

fn named(spec: &VirtualServiceSpec, index: usize) -> String {
    match spec.http.get(index).and_then(|rule| rule.name.as_deref()) {
        Some(name) if !name.is_empty() => format!("{index} ({name})"),
        _ => index.to_string(),
    }
}

impl Earlier {
    fn note(&mut self, matches: &[HttpMatchRequest], index: usize) {
        if matches.is_empty() {
            self.all.get_or_insert(index);
        }
        for each in matches {
            self.same.entry(key(each)).or_insert(index);
            if let Some(prefix) = only_prefix(each) {
                if prefix == "/" {
                    self.all.get_or_insert(index);
                }
                self.prefixes.entry(prefix.to_owned()).or_insert(index);
            }
        }
    }

    /// The rule that takes all that this match asks for.
    fn takes(&self, wanted: &HttpMatchRequest) -> Option<usize> {
        if let Some(rule) = self.same.get(&key(wanted)) {
            return Some(*rule);
        }
        let uri = wanted.uri.as_ref()?;
        let path = uri.exact.as_ref().or(uri.prefix.as_ref())?;
        if wanted.ignore_uri_case == Some(true) || self.prefixes.is_empty() {
            return None;
        }
        let ends = (1..=path.len()).filter(|end| path.is_char_boundary(*end));
        ends.filter_map(|end| self.prefixes.get(&path[..end])).min().copied()
    }
}

/// The prefix of a match that asks nothing else.
fn only_prefix(each: &HttpMatchRequest) -> Option<&str> {
    let StringMatch { exact: None, prefix: Some(prefix), regex: None } = each.uri.as_ref()? else {
        return None;
    };
    let bare = HttpMatchRequest {
        uri: each.uri.clone(),
        name: each.name.clone(),
        stat_prefix: each.stat_prefix.clone(),
        ..HttpMatchRequest::default()
    };
    (bare == *each).then_some(prefix.as_str())
}

/// A match without its name: those that read alike are alike.
fn key(each: &HttpMatchRequest) -> String {
    let nameless = HttpMatchRequest { name: None, stat_prefix: None, ..each.clone() };
    format!("{nameless:?}")
}
