//! Certificate authorities as people plug them in: roots, intermediates, keys of every kind, and what can be wrong with them.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "tests")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SignatureAlgorithm,
};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

/// A certificate, its key, and how it signs.
pub struct Ca {
    pub pem: String,
    pub key: String,
    params: CertificateParams,
    pair: KeyPair,
}

pub fn params(name: &str, path: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(path);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = OffsetDateTime::now_utc() - Duration::days(1);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(365);
    params
}

impl Ca {
    pub fn root(name: &str) -> Self {
        Self::self_signed(params(name, BasicConstraints::Unconstrained), &PKCS_ECDSA_P256_SHA256)
    }

    pub fn self_signed(params: CertificateParams, algorithm: &'static SignatureAlgorithm) -> Self {
        let pair = KeyPair::generate_for(algorithm).unwrap();
        let pem = params.self_signed(&pair).unwrap().pem();
        Self { pem, key: pair.serialize_pem(), params, pair }
    }

    /// An authority below this one.
    pub fn below(&self, params: CertificateParams, algorithm: &'static SignatureAlgorithm) -> Self {
        let pair = KeyPair::generate_for(algorithm).unwrap();
        let issuer = Issuer::from_params(&self.params, &self.pair);
        let pem = params.signed_by(&pair, &issuer).unwrap().pem();
        Self { pem, key: pair.serialize_pem(), params, pair }
    }

    pub fn intermediate(&self, name: &str) -> Self {
        self.below(params(name, BasicConstraints::Constrained(0)), &PKCS_RSA_SHA256)
    }

    /// The key as `openssl` wrote it for a long time: PKCS #1 or SEC 1.
    pub fn old_key(&self) -> String {
        let der = self.pair.serialize_der();
        let (_, parsed) = x509_parser::der_parser::parse_der(&der).unwrap();
        let inner = parsed.as_sequence().unwrap()[2].as_slice().unwrap().to_vec();
        let label =
            if self.pair.algorithm() == &PKCS_RSA_SHA256 { "RSA PRIVATE KEY" } else { "EC PRIVATE KEY" };
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(inner))
    }
}

/// A Secret `cacerts`; empty texts are left out.
pub fn cacerts(namespace: &str, cert: &str, key: &str, chain: &str, roots: &str) -> Value {
    let mut data = serde_json::Map::new();
    let texts =
        [("ca-cert.pem", cert), ("ca-key.pem", key), ("cert-chain.pem", chain), ("root-cert.pem", roots)];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        data.insert(name.to_owned(), STANDARD.encode(text).into());
    }
    json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": "cacerts", "namespace": namespace}, "data": data})
}

/// As Istio's Makefile makes it: the chain holds the intermediate and the root.
pub fn whole(namespace: &str, root: &Ca, intermediate: &Ca) -> Value {
    let chain = format!("{}{}", intermediate.pem, root.pem);
    cacerts(namespace, &intermediate.pem, &intermediate.key, &chain, &root.pem)
}

/// Each with the key that is to be named, and a word of what is wrong.
pub fn broken() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    let (root, other) = (Ca::root("root"), Ca::root("other"));
    let middle = root.intermediate("middle");
    let now = OffsetDateTime::now_utc();
    let changed = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = params("changed", BasicConstraints::Constrained(0));
        change(&mut params);
        root.below(params, &PKCS_ECDSA_P256_SHA256)
    };
    let ended = changed(&|params| params.not_after = now - Duration::hours(1));
    let early = changed(&|params| params.not_before = now + Duration::hours(1));
    let leaf = changed(&|params| params.is_ca = IsCa::ExplicitNoCa);
    let encipher = changed(&|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    let too_deep = middle.below(params("deep", BasicConstraints::Unconstrained), &PKCS_ECDSA_P256_SHA256);
    let deep_chain = format!("{}{}", too_deep.pem, middle.pem);
    let of = |ca: &Ca| cacerts("heddle-system", &ca.pem, &ca.key, &ca.pem, &root.pem);
    let with =
        |cert: &str, key: &str, chain: &str, roots: &str| cacerts("heddle-system", cert, key, chain, roots);
    let cut = &middle.pem[..middle.pem.len() / 2];
    vec![
        ("empty", with("", "", "", ""), "ca-cert.pem", "is missing"),
        ("no certificate", with("", &middle.key, "", &root.pem), "ca-cert.pem", "is missing"),
        ("no key", with(&middle.pem, "", "", &root.pem), "ca-key.pem", "is missing"),
        ("no root", with(&middle.pem, &middle.key, "", ""), "root-cert.pem", "is missing"),
        (
            "a certificate that is a word",
            with("word", &middle.key, "", &root.pem),
            "ca-cert.pem",
            "holds no certificate",
        ),
        ("a certificate that is cut off", with(cut, &middle.key, "", &root.pem), "ca-cert.pem", ""),
        (
            "a key that is a word",
            with(&middle.pem, "word", "", &root.pem),
            "ca-key.pem",
            "no unencrypted private key",
        ),
        (
            "a key with a password",
            with(&middle.pem, &middle.key.replace("PRIVATE", "ENCRYPTED PRIVATE"), "", &root.pem),
            "ca-key.pem",
            "no unencrypted private key",
        ),
        (
            "the key of another",
            with(&middle.pem, &other.key, "", &root.pem),
            "ca-key.pem",
            "is not the key of the certificate",
        ),
        (
            "a root that is a word",
            with(&middle.pem, &middle.key, "", "word"),
            "root-cert.pem",
            "holds no certificate",
        ),
        (
            "the root of another",
            with(&middle.pem, &middle.key, &middle.pem, &other.pem),
            "cert-chain.pem",
            "does not verify",
        ),
        (
            "no certificate between",
            with(&too_deep.pem, &too_deep.key, &too_deep.pem, &root.pem),
            "cert-chain.pem",
            "does not verify",
        ),
        (
            "a path that is too long",
            with(&too_deep.pem, &too_deep.key, &deep_chain, &root.pem),
            "cert-chain.pem",
            "does not verify",
        ),
        ("one that has ended", of(&ended), "ca-cert.pem", "has ended"),
        ("one that begins later", of(&early), "ca-cert.pem", "is not valid before"),
        ("no authority", of(&leaf), "ca-cert.pem", "is not the certificate of an authority"),
        ("one that may not sign", of(&encipher), "ca-cert.pem", "may not sign certificates"),
    ]
}
