//! The certificate authority: the public key of a request, an identity from our own pod record, a short life.

pub mod csr;
pub mod issue;
pub mod root;
pub mod service;
pub mod serving;

#[cfg(test)]
mod tests;
