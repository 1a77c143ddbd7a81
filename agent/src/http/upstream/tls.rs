//! TLS that the agent originates (DestinationRule `SIMPLE` and `MUTUAL`).

use std::cell::RefCell;
use std::net::IpAddr;
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

use super::bounds::Speak;
use crate::http::io::Wire;
use crate::http::upgrade::Duplex;
use crate::telemetry::{Failure, Reason};

/// Where distributions keep the roots of the system.
const SYSTEM_ROOTS: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// Those of the system, as of the first look.
static SYSTEM: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    if let Some(certificates) = SYSTEM_ROOTS.iter().find_map(|file| CertificateDer::pem_file_iter(file).ok())
    {
        roots.add_parsable_certificates(certificates.flatten());
    }
    Arc::new(roots)
});

/// Settings that are kept ready, at most; the least recent goes.
const KEPT: usize = 256;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// What rules say, as rustls wants it: made once, so that sessions are resumed.
#[derive(Debug, Default)]
pub struct Originator {
    kept: RefCell<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    origination: Arc<TlsOrigination>,
    speak: Option<Speak>,
    config: Arc<ClientConfig>,
}

impl Originator {
    /// Handshakes over a connection that is open. `host`: of the cluster, where the rule names no server name. `speak`: what is
    /// offered by ALPN; nothing for what nobody looks into.
    ///
    /// # Errors
    /// The settings cannot be used, or somebody else answered.
    pub async fn originate(
        &self,
        wire: Wire,
        origination: &Arc<TlsOrigination>,
        host: &str,
        speak: Option<Speak>,
    ) -> Result<Box<TlsStream<Duplex>>, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(Reason::Connect, &format_args!("TLS to {host}: {error}"))
        };
        let named = origination.sni.as_deref().unwrap_or(host);
        if named.starts_with('*') {
            return Err(failed(
                &"the host is a wildcard, which is no server name: write `sni` in the DestinationRule",
            ));
        }
        let name = ServerName::try_from(named.to_owned()).map_err(|error| failed(&error))?;
        let config = self.config(origination, speak).map_err(|error| failed(&error))?;
        let tls = TlsConnector::from(config).connect(name, Duplex::new((wire, bytes::Bytes::new()))).await;
        tls.map(Box::new).map_err(|error| failed(&error))
    }

    fn config(
        &self,
        origination: &Arc<TlsOrigination>,
        speak: Option<Speak>,
    ) -> Result<Arc<ClientConfig>, Error> {
        let mut kept = self.kept.borrow_mut();
        let same = |kept: &Kept| {
            kept.speak == speak
                && (Arc::ptr_eq(&kept.origination, origination) || kept.origination == *origination)
        };
        if let Some(known) = kept.iter_mut().find(|kept| same(kept)) {
            known.origination = origination.clone();
            return Ok(known.config.clone());
        }
        let config = Arc::new(config(origination, speak)?);
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push(Kept { origination: origination.clone(), speak, config: config.clone() });
        Ok(config)
    }
}

fn config(origination: &TlsOrigination, speak: Option<Speak>) -> Result<ClientConfig, Error> {
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
        Some(Speak::Http1) => vec![b"http/1.1".to_vec()],
        Some(Speak::Http2) => vec![b"h2".to_vec()],
        None => Vec::new(),
    };
    Ok(config)
}

fn roots(pem: Option<&str>) -> Result<Arc<RootCertStore>, Error> {
    let Some(pem) = pem else { return Ok(SYSTEM.clone()) };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate?)?;
    }
    Ok(Arc::new(roots))
}

/// The chain against the roots; then the names that the rule lists, or the server name.
#[derive(Debug)]
struct Verifier {
    roots: Arc<RootCertStore>,
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
            let wanted = self.names.join(", ");
            return Err(rustls::Error::General(format!(
                "the certificate is for none of subjectAltNames {wanted}"
            )));
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

/// Istio's `subjectAltNames`: exact, of whatever kind; a certificate may stand for a whole domain.
fn is_named(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return false };
    names.value.general_names.iter().any(|each| match each {
        GeneralName::DNSName(found) => is_dns_name(found, name),
        GeneralName::URI(found) => *found == name,
        GeneralName::IPAddress(found) => name.parse().is_ok_and(|wanted| is_address(found, wanted)),
        _ => false,
    })
}

/// RFC 6125 section 6.4.3: an asterisk is the whole first label, and only that.
fn is_dns_name(found: &str, name: &str) -> bool {
    let below = |name: &str| name.split_once('.').map(|(_, domain)| domain.to_owned());
    match found.strip_prefix("*.") {
        Some(domain) => below(name).is_some_and(|rest| rest.eq_ignore_ascii_case(domain)),
        None => found.eq_ignore_ascii_case(name),
    }
}

fn is_address(found: &[u8], wanted: IpAddr) -> bool {
    match wanted {
        IpAddr::V4(ip) => found == ip.octets(),
        IpAddr::V6(ip) => found == ip.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        assert!(is_dns_name("*.example.com", "API.example.com"));
        assert!(is_dns_name("api.example.com", "api.example.com"));
        assert!(!is_dns_name("*.example.com", "a.b.example.com"));
        assert!(!is_dns_name("*.example.com", "example.com"));
        assert!(!is_dns_name("*", "com"));
    }
}
