//! Certificate requests: the public key, its proof of possession, and nothing else.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, UnparsedPublicKey, VerificationAlgorithm,
};
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384,
};
use x509_parser::prelude::{FromDer, X509CertificationRequest};

/// Longest request taken; one of P-256 is below 1 KiB.
const MOST_BYTES: usize = 16 * 1024;

/// A P-256 public key whose holder signed the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenKey {
    /// Uncompressed point.
    point: Vec<u8>,
}

/// Why a request is refused. Always the caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Over 16 KiB.
    #[error("the request is longer than 16 KiB")]
    TooLong,
    /// Not one PEM block of a PKCS #10 request.
    #[error("the request is not one PEM block of a PKCS #10 certificate request")]
    Malformed,
    /// Any key but ECDSA P-256.
    #[error("the request's key is not ECDSA P-256")]
    KeyType,
    /// The signature does not verify with the request's own key.
    #[error("the request is not signed with its own key")]
    Possession,
}

impl ProvenKey {
    /// Reads a PEM request (RFC 2986) and verifies its signature.
    ///
    /// # Errors
    /// The request is malformed, its key is of another type, or the signature is not its own.
    pub fn from_pem(csr: &str) -> Result<Self, CsrError> {
        if csr.len() > MOST_BYTES {
            return Err(CsrError::TooLong);
        }
        let (rest, pem) =
            x509_parser::pem::parse_x509_pem(csr.as_bytes()).map_err(|_parse| CsrError::Malformed)?;
        let label = pem.label == "CERTIFICATE REQUEST" || pem.label == "NEW CERTIFICATE REQUEST";
        if !label || !rest.trim_ascii().is_empty() {
            return Err(CsrError::Malformed);
        }
        let (rest, request) =
            X509CertificationRequest::from_der(&pem.contents).map_err(|_parse| CsrError::Malformed)?;
        if !rest.is_empty() {
            return Err(CsrError::Malformed);
        }
        Self::proven(&request)
    }

    fn proven(request: &X509CertificationRequest<'_>) -> Result<Self, CsrError> {
        let info = &request.certification_request_info;
        let algorithm = &info.subject_pki.algorithm;
        let curve = algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
        if algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY || curve != Some(OID_EC_P256) {
            return Err(CsrError::KeyType);
        }
        let signed_with = &request.signature_algorithm.algorithm;
        let verification: &'static dyn VerificationAlgorithm = if *signed_with == OID_SIG_ECDSA_WITH_SHA256 {
            &ECDSA_P256_SHA256_ASN1
        } else if *signed_with == OID_SIG_ECDSA_WITH_SHA384 {
            &ECDSA_P256_SHA384_ASN1
        } else {
            return Err(CsrError::Possession);
        };
        let point = info.subject_pki.subject_public_key.data.to_vec();
        UnparsedPublicKey::new(verification, &point)
            .verify(info.raw, &request.signature_value.data)
            .map_err(|_unspecified| CsrError::Possession)?;
        Ok(Self { point })
    }
}

impl PublicKeyData for ProvenKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}
