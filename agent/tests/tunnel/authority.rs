//! Certificates for the tests: good, foreign, expired, and with too many names.
#![allow(unreachable_pub)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use heddle_agent::tls::{self, Credentials, TrustBundle, WorkloadCertificate};
use heddle_core::identity::Identity;
use heddle_core::names::PodUid;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: rustls_pki_types::CertificateDer<'static>,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), root }
    }

    pub fn bundle(&self) -> TrustBundle {
        TrustBundle::new([self.root.clone()]).unwrap()
    }

    pub fn issue(&self, uris: &[&str], lifetime: Lifetime) -> WorkloadCertificate {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let now = SystemTime::now();
        let hour = Duration::from_secs(3600);
        let (from, until) = match lifetime {
            Lifetime::Valid => (now - hour, now + hour),
            Lifetime::Ends(after) => (now - hour, now + after),
            Lifetime::Expired => (now - 2 * hour, now - hour),
        };
        (params.not_before, params.not_after) = (from.into(), until.into());
        params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        WorkloadCertificate {
            identity: Identity::parse(uris[0]).unwrap(),
            chain: vec![leaf.der().clone()],
            key: rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            not_before: from,
            not_after: until,
            serial: "00".into(),
        }
    }
}

#[derive(Clone, Copy)]
pub enum Lifetime {
    Valid,
    Ends(Duration),
    Expired,
}

/// Certificates by pod UID, to be exchanged at will.
#[derive(Debug)]
pub struct TestCredentials {
    pub certificates: Mutex<HashMap<PodUid, Arc<WorkloadCertificate>>>,
    pub roots: TrustBundle,
}

impl Credentials for TestCredentials {
    fn server_config(&self, pod: &PodUid) -> Option<Arc<rustls::ServerConfig>> {
        let certificate = self.certificates.lock().unwrap().get(pod)?.clone();
        tls::server_config(&certificate, &self.roots).ok()
    }
    fn client_config(&self, pod: &PodUid, expected: &Identity) -> Option<Arc<rustls::ClientConfig>> {
        let certificate = self.certificates.lock().unwrap().get(pod)?.clone();
        tls::client_config(&certificate, &self.roots, expected).ok()
    }
    fn not_after(&self, pod: &PodUid) -> Option<SystemTime> {
        self.certificates.lock().unwrap().get(pod).map(|certificate| certificate.not_after)
    }
}
