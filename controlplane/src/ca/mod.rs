//! The certificate authority: the public key of a request, an identity from our own pod record, a short life.

pub mod csr;
pub mod issue;
pub mod keeper;
pub mod material;
pub mod pem;
pub mod record;
pub mod root;
pub mod secret;
pub mod service;
pub mod serving;
pub mod signer;
pub mod trust;

#[cfg(test)]
mod tests;
