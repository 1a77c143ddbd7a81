//! The answer to a request.

use std::sync::Arc;

use super::rule::CompiledRule;

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
pub enum Decision<'a> {
    /// A rule matched.
    Rule(Matched<'a>),
    /// There are rules and none matched: 404, flag `NR`.
    NotFound,
    /// No rule speaks for the host: to the service itself.
    Default,
}

/// The rule that matched, and by which of its matches.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'a> {
    /// The rule.
    pub rule: &'a Arc<CompiledRule>,
    /// Index into [`CompiledRule::matches`]; to be given back to its methods.
    pub by: usize,
}
