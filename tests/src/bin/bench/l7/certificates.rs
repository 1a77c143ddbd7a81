//! Certificates for the Envoys, of the kind that a mesh has: one root, one SPIFFE identity each.

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};

/// PEM of the root, and of a chain and a key for client and server.
pub(super) struct Certificates {
    pub(super) root: String,
    pub(super) client: (String, String),
    pub(super) server: (String, String),
}

pub(super) const CLIENT: &str = "spiffe://cluster.local/ns/bench-envoy/sa/client";
pub(super) const SERVER: &str = "spiffe://cluster.local/ns/bench-envoy/sa/server";

impl Certificates {
    pub(super) fn make() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let root = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        let leaf = |identity: &str| -> Result<(String, String)> {
            let mut params = CertificateParams::default();
            // The root's name would make it look signed by itself.
            params.distinguished_name = DistinguishedName::new();
            params.subject_alt_names = vec![SanType::URI(identity.try_into()?)];
            let key = KeyPair::generate()?;
            Ok((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
        };
        Ok(Self { root, client: leaf(CLIENT)?, server: leaf(SERVER)? })
    }
}
