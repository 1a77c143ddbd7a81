//! `tls`: how the endpoint is spoken to beneath HTTP. What cannot be done refuses connections.

use heddle_core::upstream::model::{ClientTls, TlsMode};

use super::Credential;
use super::schema::{self, ClientTlsSettings};
use crate::diagnostic::{Code, Severity};
use crate::report::{At, Notes};

/// Where the certificate of a host is checked, and by what code its absence is told.
pub(super) struct Checked {
    pub(super) code: Code,
}

pub(super) fn read(
    written: &ClientTlsSettings,
    credential: &dyn Fn(&str) -> Option<Credential>,
    checked: &Checked,
    at: &At<'_>,
    notes: &mut Notes,
) -> ClientTls {
    let mode = match written.mode.unwrap_or(schema::TlsMode::Disable) {
        schema::TlsMode::Disable => TlsMode::Disable,
        schema::TlsMode::Simple => TlsMode::Simple,
        schema::TlsMode::Mutual => TlsMode::Mutual,
        schema::TlsMode::IstioMutual => TlsMode::IstioMutual,
    };
    let mut tls = ClientTls {
        mode,
        sni: text(&written.sni).map(str::to_owned),
        subject_alt_names: written.subject_alt_names.clone(),
        insecure_skip_verify: written.insecure_skip_verify.unwrap_or(false),
        ..ClientTls::default()
    };
    combinations(written, mode, at, notes);
    if matches!(mode, TlsMode::Simple | TlsMode::Mutual) {
        certificates(written, &mut tls, credential, at, notes);
        let unverified = text(&written.ca_certificates).is_none() && text(&written.credential_name).is_none();
        if unverified && !tls.insecure_skip_verify {
            let message = "names no caCertificates: the roots of the node's system decide whom to trust; write `caCertificates: system` if that is meant, or name a Secret in credentialName";
            notes.put(Severity::Warning, checked.code, at, message);
        }
    }
    if written.mode.is_none() {
        notes.warning(&at.field("mode"), "is not given, which means DISABLE: write the mode");
    }
    tls
}

fn combinations(written: &ClientTlsSettings, mode: TlsMode, at: &At<'_>, notes: &mut Notes) {
    let files = [
        ("clientCertificate", text(&written.client_certificate)),
        ("privateKey", text(&written.private_key)),
        ("caCertificates", text(&written.ca_certificates)),
        ("caCrl", text(&written.ca_crl)),
    ];
    let named = files.iter().filter(|(_, file)| file.is_some()).map(|(field, _)| *field);
    let secret = text(&written.credential_name).is_some();
    for field in named.clone().filter(|_| secret) {
        notes.error(&at.field(field), "cannot stand beside credentialName: the Secret holds it");
    }
    if mode == TlsMode::IstioMutual {
        for field in named.chain(secret.then_some("credentialName")) {
            notes.error(
                &at.field(field),
                "cannot stand beside ISTIO_MUTUAL, which uses the mesh's own certificates: remove it",
            );
        }
    }
    if mode == TlsMode::Mutual && !secret {
        for (field, file) in &files[..2] {
            if file.is_none() {
                notes.error(
                    &at.field(field),
                    "is required beside MUTUAL: write `credentialName: <Secret>` with tls.crt and tls.key",
                );
            }
        }
    }
    if written.insecure_skip_verify == Some(true) {
        let lists = [
            ("caCertificates", text(&written.ca_certificates).is_some()),
            ("subjectAltNames", !written.subject_alt_names.is_empty()),
        ];
        for (field, _) in lists.iter().filter(|(_, there)| *there) {
            notes.error(
                &at.field(field),
                "cannot stand beside `insecureSkipVerify: true`: remove one of them",
            );
        }
        notes.warning(
            &at.field("insecureSkipVerify"),
            "switches the verification of the endpoint off: anybody can answer in its name",
        );
    }
}

/// Files are those of a sidecar's container, which there is none of: only `system` and Secrets can be read.
fn certificates(
    written: &ClientTlsSettings,
    tls: &mut ClientTls,
    credential: &dyn Fn(&str) -> Option<Credential>,
    at: &At<'_>,
    notes: &mut Notes,
) {
    let files = [
        ("clientCertificate", text(&written.client_certificate)),
        ("privateKey", text(&written.private_key)),
        ("caCertificates", text(&written.ca_certificates).filter(|file| *file != "system")),
        ("caCrl", text(&written.ca_crl)),
    ];
    for (field, file) in files {
        if let Some(file) = file {
            let message = format!(
                "{file:?} is a file of a sidecar, which there is none of: connections are refused; put it into a Secret and write `credentialName: <Secret>`"
            );
            notes.unserved(&at.field(field), message);
            tls.broken.get_or_insert_with(|| format!("{field} {file} is a file of the pod"));
        }
    }
    let Some(name) = text(&written.credential_name) else { return };
    match credential(name) {
        Some(found) => {
            if tls.mode == TlsMode::Mutual && (found.certificate.is_none() || found.private_key.is_none()) {
                tls.broken = Some(format!("Secret {name} has no tls.crt and tls.key"));
            }
            tls.ca = found.ca;
            if tls.mode == TlsMode::Mutual {
                (tls.certificate, tls.private_key) = (found.certificate, found.private_key);
            }
        }
        None => tls.broken = Some(format!("Secret {name} is not there")),
    }
}

fn text(written: &Option<String>) -> Option<&str> {
    written.as_deref().filter(|text| !text.is_empty())
}
