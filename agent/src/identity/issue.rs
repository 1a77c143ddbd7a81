//! One certificate: a fresh key, a request by pod UID, and a look at what came back.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use heddle_core::identity::Identity;
use heddle_core::names::PodUid;
use heddle_proto::istio::v1::auth::IstioCertificateRequest;
use heddle_proto::istio::v1::auth::istio_certificate_service_client::IstioCertificateServiceClient;
use prost_types::{Struct, Value, value};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tonic::transport::Channel;
use zeroize::Zeroizing;

use crate::control::Controller;
use crate::tls::WorkloadCertificate;

const DEADLINE: Duration = Duration::from_secs(10);
/// A leaf, two intermediates and a root are usual.
const MAX_CHAIN: usize = 16;

/// A certificate that may go into force.
pub(super) struct Issued {
    pub(super) certificate: WorkloadCertificate,
    pub(super) key_pem: Zeroizing<String>,
    pub(super) chain_pem: String,
}

/// Whose fault it is that there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum IssueError {
    /// This node's: no key could be made, or the token cannot be read.
    #[error("{0}")]
    Local(String),
    /// The controller refused, or is away.
    #[error("the controller: {0}")]
    Refused(String),
    /// What it sent cannot be used.
    #[error("the controller's answer: {0}")]
    Answer(String),
    /// The clocks disagree.
    #[error("the clocks of this node and of the controller differ by {0} s or more: set one of them")]
    Clock(u64),
}

/// Asks for one. `now` is the time by which it must be valid.
pub(super) async fn issue(
    channel: Channel,
    controller: &Controller,
    (pod, expected): (&PodUid, &Identity),
    ttl: Duration,
    now: SystemTime,
) -> Result<Issued, IssueError> {
    let local = |error: &dyn std::fmt::Display| IssueError::Local(error.to_string());
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| local(&error))?;
    let request = CertificateParams::default().serialize_request(&key).map_err(|error| local(&error))?;
    let message = IstioCertificateRequest {
        csr: request.pem().map_err(|error| local(&error))?,
        validity_duration: i64::try_from(ttl.as_secs().max(1)).unwrap_or(i64::MAX),
        metadata: Some(metadata(pod)),
    };
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", controller.bearer().map_err(|error| local(&error))?);
    let mut client = IstioCertificateServiceClient::new(channel);
    let answer = match tokio::time::timeout(DEADLINE, client.create_certificate(request)).await {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) => return Err(IssueError::Refused(refusal(&status))),
        Err(_elapsed) => return Err(IssueError::Refused(format!("no answer within {DEADLINE:?}"))),
    };
    accept(&answer.cert_chain, &key, expected, now)
}

fn metadata(pod: &PodUid) -> Struct {
    let uid = Value { kind: Some(value::Kind::StringValue(pod.as_str().to_owned())) };
    Struct { fields: BTreeMap::from([("PodUID".to_owned(), uid)]) }
}

fn refusal(status: &tonic::Status) -> String {
    match status.message() {
        "" => status.code().to_string(),
        message => message.to_owned(),
    }
}

/// The chain must be for our key, for the identity that the pod has, and valid now.
fn accept(
    chain: &[String],
    key: &KeyPair,
    expected: &Identity,
    now: SystemTime,
) -> Result<Issued, IssueError> {
    let answer = |error: &dyn std::fmt::Display| IssueError::Answer(error.to_string());
    if chain.is_empty() || chain.len() > MAX_CHAIN {
        return Err(IssueError::Answer(format!("{} certificates", chain.len())));
    }
    let text = chain.join("\n");
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let mut parsed: Vec<CertificateDer<'static>> = parsed.map_err(|error| answer(&error))?;
    // Roots come last and are not presented: the peer has its own.
    while parsed.len() > 1 && parsed.last().is_some_and(is_self_issued) {
        parsed.pop();
    }
    let key_pem = Zeroizing::new(key.serialize_pem());
    let private = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|error| answer(&error))?;
    let certificate = WorkloadCertificate::new(parsed, private).map_err(|error| answer(&error))?;
    if certificate.identity != *expected {
        return Err(IssueError::Answer(format!("it is for {}, not for {expected}", certificate.identity)));
    }
    let ahead = certificate.not_before.duration_since(now).unwrap_or_default();
    let behind = now.duration_since(certificate.not_after).unwrap_or_default();
    if !certificate.is_valid_at(now) {
        return Err(IssueError::Clock(ahead.max(behind).as_secs()));
    }
    Ok(Issued { chain_pem: text, key_pem, certificate })
}

fn is_self_issued(certificate: &CertificateDer<'static>) -> bool {
    x509_parser::parse_x509_certificate(certificate)
        .is_ok_and(|(_, parsed)| parsed.subject().as_raw() == parsed.issuer().as_raw())
}
