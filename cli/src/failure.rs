//! Why a verb failed.

use std::io;

/// The text says what is wrong and, where something can be done, what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) String);

impl From<Failure> for io::Error {
    fn from(Failure(message): Failure) -> Self {
        Self::other(message)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
