//! What routing is asked about: a request as the HTTP stage has parsed it, and who sends it.

use http::{HeaderMap, Method};

use super::path::CanonicalPath;
use crate::object::Labels;

/// A request, by reference.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// `:authority` or `Host`, as it came.
    pub authority: &'a str,
    /// Canonical path and query.
    pub path: &'a CanonicalPath,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The port that the client dialled.
    pub port: u16,
}

/// Whose request it is.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// Namespace of its pod.
    pub namespace: &'a str,
    /// Labels of its pod.
    pub labels: &'a Labels,
}
