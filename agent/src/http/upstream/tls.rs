//! TLS that the agent originates (DestinationRule `SIMPLE` and `MUTUAL`).

use std::sync::{Arc, LazyLock};

use heddle_core::upstream::TlsOrigination;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::pool::Speak;
use crate::http::io::Wire;
use crate::http::upgrade::Duplex;
use crate::telemetry::{Failure, Reason};

/// Where distributions keep the roots of the system.
const SYSTEM_ROOTS: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// Handshakes over a connection that is open. `host`: of the cluster, where the rule names no server name.
///
/// # Errors
/// The settings cannot be used, or somebody else answered.
pub async fn originate(
    wire: Wire,
    origination: &TlsOrigination,
    host: &str,
    speak: Speak,
) -> Result<Box<TlsStream<Duplex>>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(Reason::Connect, error);
    let named = origination.sni.as_deref().unwrap_or(host);
    let name = ServerName::try_from(named.to_owned()).map_err(|error| failed(&error))?;
    let config = config(origination, speak).map_err(|error| failed(&error))?;
    let connector = TlsConnector::from(Arc::new(config));
    let tls = connector.connect(name, Duplex::new((wire, bytes::Bytes::new()))).await;
    tls.map(Box::new).map_err(|error| failed(&error))
}

fn config(
    origination: &TlsOrigination,
    speak: Speak,
) -> Result<ClientConfig, Box<dyn std::error::Error + Send + Sync>> {
    let settings = &origination.settings;
    if let Some(why) = &settings.broken {
        return Err(why.clone().into());
    }
    let verifier = Verifier {
        roots: roots(settings.ca.as_deref())?,
        names: origination.subject_alt_names.clone(),
        trusting: settings.insecure_skip_verify,
    };
    let builder = ClientConfig::builder_with_provider(PROVIDER.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match (&settings.certificate, &settings.private_key) {
        (Some(chain), Some(key)) => {
            let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = match speak {
        Speak::Http1 => vec![b"http/1.1".to_vec()],
        Speak::Http2 => vec![b"h2".to_vec()],
    };
    Ok(config)
}

fn roots(pem: Option<&str>) -> Result<RootCertStore, Box<dyn std::error::Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = pem {
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(certificate?)?;
        }
        return Ok(roots);
    }
    for file in SYSTEM_ROOTS {
        if let Ok(certificates) = CertificateDer::pem_file_iter(file) {
            roots.add_parsable_certificates(certificates.flatten());
            break;
        }
    }
    Ok(roots)
}

/// The chain against the roots; then the names that the rule lists, or the server name.
#[derive(Debug)]
struct Verifier {
    roots: RootCertStore,
    names: Vec<String>,
    trusting: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.trusting {
            return Ok(ServerCertVerified::assertion());
        }
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = PROVIDER.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)?;
        if self.names.is_empty() {
            rustls::client::verify_server_name(&certificate, server_name)?;
        } else if !self.names.iter().any(|name| is_named(end_entity, name)) {
            return Err(rustls::CertificateError::NotValidForName.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &PROVIDER.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &PROVIDER.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}

/// Istio's `subjectAltNames`: exact, of whatever kind.
fn is_named(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return false };
    names.value.general_names.iter().any(|each| match each {
        GeneralName::DNSName(found) => found.eq_ignore_ascii_case(name),
        GeneralName::URI(found) => *found == name,
        _ => false,
    })
}
