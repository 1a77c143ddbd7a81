//! The certificate authority: who gets what, and who does not.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use heddle_core::identity::Identity;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::csr::{CsrError, ProvenKey};
use super::issue::{Refusal, Subject, judge};
use super::root::{self, RootError};
use crate::index::input::{Change, Input, InputKind, Key, Labels, PodInput};
use crate::index::{Index, Output, Settings};

fn request(key: &KeyPair, params: &CertificateParams) -> String {
    params.serialize_request(key).unwrap().pem().unwrap()
}

fn p256() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

/// Changes one byte of the DER of a PEM request, counted from the end.
fn tampered(pem: &str, from_end: usize) -> String {
    let (_, parsed) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let mut der = parsed.contents;
    let at = der.len() - from_end;
    der[at] ^= 1;
    rcgen_pem(&der)
}

fn rcgen_pem(der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in der.chunks(3) {
        let bits = (u32::from(chunk[0]) << 16)
            | (u32::from(*chunk.get(1).unwrap_or(&0)) << 8)
            | u32::from(*chunk.get(2).unwrap_or(&0));
        for digit in 0..4 {
            let sextet = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit > chunk.len() { '=' } else { char::from(DIGITS[sextet as usize]) });
        }
    }
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n", lines.join("\n"))
}

#[test]
fn a_request_is_taken_for_its_proven_key_only() {
    let good = request(&p256(), &CertificateParams::default());
    assert!(ProvenKey::from_pem(&good).is_ok());
    let hostile = [
        (String::new(), CsrError::Malformed),
        ("-----BEGIN CERTIFICATE REQUEST-----\n".into(), CsrError::Malformed),
        (good.replace("CERTIFICATE REQUEST", "CERTIFICATE"), CsrError::Malformed),
        (format!("{good}{good}"), CsrError::Malformed),
        (rcgen_pem(&[0x30, 0x03, 0x02, 0x01, 0x00]), CsrError::Malformed),
        ("A".repeat(20_000), CsrError::TooLong),
        (tampered(&good, 3), CsrError::Possession),
        (tampered(&good, 100), CsrError::Possession),
        (
            request(&KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(), &CertificateParams::default()),
            CsrError::KeyType,
        ),
        (
            request(&KeyPair::generate_for(&PKCS_ED25519).unwrap(), &CertificateParams::default()),
            CsrError::KeyType,
        ),
    ];
    for (number, (csr, want)) in hostile.iter().enumerate() {
        let got = ProvenKey::from_pem(csr).unwrap_err();
        // What is changed may hit the encoding before the signature; either way nothing is proven.
        let proven = got == *want || (*want == CsrError::Possession && got == CsrError::Malformed);
        assert!(proven, "row {number}: {got}");
    }
}

#[test]
fn a_certificate_holds_the_identity_that_we_say_and_nothing_that_the_request_says() {
    let folder = tempfile::TempDir::new().unwrap();
    let signer = root::open(folder.path(), "cluster.local").unwrap();
    let key = p256();
    let mut params = CertificateParams::new(["evil.example".to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "evil");
    let proven = ProvenKey::from_pem(&request(&key, &params)).unwrap();
    let identity = Identity::new("cluster.local", "ns", "sa").unwrap();
    let now = OffsetDateTime::now_utc();
    for (seconds, back) in [(3600, 300), (60, 60)] {
        let issued = signer.sign(&proven, &identity, Duration::from_secs(seconds), now).unwrap();
        let (_, leaf) = X509Certificate::from_der(&issued.der).unwrap();
        let names = leaf.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
        assert_eq!(format!("{names:?}"), "[URI(\"spiffe://cluster.local/ns/ns/sa/sa\")]");
        assert_eq!(leaf.subject().iter().count(), 0);
        assert!(!leaf.is_ca());
        let usage = leaf.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && usage.client_auth && !usage.any);
        let validity = leaf.validity();
        assert_eq!(validity.not_after.timestamp() - now.unix_timestamp(), i64::try_from(seconds).unwrap());
        assert_eq!(now.unix_timestamp() - validity.not_before.timestamp(), back);
        let (_, pem) = x509_parser::pem::parse_x509_pem(signer.roots()[0].as_bytes()).unwrap();
        let authority = pem.parse_x509().unwrap();
        assert_eq!(leaf.issuer().as_raw(), authority.subject().as_raw());
        assert_eq!(leaf.public_key().subject_public_key.data.as_ref(), rcgen::PublicKeyData::der_bytes(&key));
    }
}

#[test]
fn the_root_is_private_and_outlives_the_controller() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("ca");
    let first = root::open(&path, "cluster.local").unwrap().roots().concat();
    let mode = |name: &str| path.join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("root-key.pem"), mode("root-cert.pem")), (0o700, 0o600, 0o600));
    let again = root::open(&path, "cluster.local").unwrap();
    assert_eq!(again.roots().concat(), first);
    // What it signs now is still signed with the key of the root.
    let identity = Identity::new("cluster.local", "ns", "sa").unwrap();
    let issued = again.sign(&p256(), &identity, Duration::from_secs(60), OffsetDateTime::now_utc()).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(first.as_bytes()).unwrap();
    let authority = pem.parse_x509().unwrap();
    let (_, leaf) = X509Certificate::from_der(&issued.der).unwrap();
    let point = authority.public_key().subject_public_key.data.as_ref();
    let verified =
        aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1, point)
            .verify(leaf.tbs_certificate.as_ref(), &leaf.signature_value.data);
    assert!(verified.is_ok());
    // Half a root is never replaced silently: every certificate out there would be worth nothing.
    std::fs::remove_file(path.join("root-key.pem")).unwrap();
    assert!(matches!(root::open(&path, "cluster.local"), Err(RootError::Half(_))));
}

fn output(change: impl FnOnce(&mut PodInput)) -> Output {
    let mut index = Index::new(Settings {
        trust_domain: "cluster.local".into(),
        cluster_domain: "cluster.local".into(),
        cluster_id: "Kubernetes".into(),
        pod_cidrs: vec![],
        service_cidrs: vec![],
        trust_bundle: vec![],
    });
    let mesh: Labels = [("heddle.dev/mesh".to_owned(), "enabled".to_owned())].into();
    let mut pod = PodInput {
        uid: "u".into(),
        node: "node-1".into(),
        service_account: "sa".into(),
        ..PodInput::default()
    };
    change(&mut pod);
    index.apply([
        Change::Put(Key::new(InputKind::Namespace, "", "ns"), Input::Namespace(mesh.into())),
        Change::Put(Key::new(InputKind::Pod, "ns", "a"), Input::Pod(Box::new(pod))),
    ]);
    index.output().clone()
}

#[test]
fn only_a_captured_living_pod_of_the_callers_node_has_an_identity() {
    let by_uid = |uid: &str| Subject::Pod(uid.into());
    let opt_out = |pod: &mut PodInput| drop(pod.labels.insert("heddle.dev/mesh".into(), "disabled".into()));
    let rows = [
        (output(|_| {}), "node-1", by_uid("u"), None),
        (output(|_| {}), "node-2", by_uid("u"), Some(Refusal::OtherNode)),
        (output(|_| {}), "", by_uid("u"), Some(Refusal::OtherNode)),
        (output(|_| {}), "node-1", by_uid("v"), Some(Refusal::UnknownPod)),
        (output(|_| {}), "node-1", by_uid(""), Some(Refusal::UnknownPod)),
        (output(|pod| pod.node.clear()), "", by_uid("u"), Some(Refusal::OtherNode)),
        (output(|pod| pod.terminal = true), "node-1", by_uid("u"), Some(Refusal::Terminal)),
        (output(|pod| pod.host_network = true), "node-1", by_uid("u"), Some(Refusal::HostNetwork)),
        (output(opt_out), "node-1", by_uid("u"), Some(Refusal::NotEnrolled)),
        (output(|pod| pod.service_account = "a/b".into()), "node-1", by_uid("u"), Some(Refusal::Grammar)),
        (output(|_| {}), "node-1", Subject::Identity("spiffe://cluster.local/ns/ns/sa/sa".into()), None),
        (
            output(|_| {}),
            "node-2",
            Subject::Identity("spiffe://cluster.local/ns/ns/sa/sa".into()),
            Some(Refusal::UnknownPod),
        ),
        (
            output(|_| {}),
            "node-1",
            Subject::Identity("spiffe://elsewhere/ns/ns/sa/sa".into()),
            Some(Refusal::UnknownPod),
        ),
        (
            output(|_| {}),
            "node-1",
            Subject::Identity("spiffe://cluster.local/ns/ns/sa/admin".into()),
            Some(Refusal::UnknownPod),
        ),
        (output(|_| {}), "node-1", Subject::Identity("ns/sa".into()), Some(Refusal::Grammar)),
    ];
    for (number, (output, node, subject, want)) in rows.into_iter().enumerate() {
        let judged = judge(&output, "cluster.local", node, &subject);
        assert_eq!(judged.as_ref().err().copied(), want, "row {number}");
        if let Ok((identity, uid)) = judged {
            assert_eq!((identity.to_string().as_str(), &*uid), ("spiffe://cluster.local/ns/ns/sa/sa", "u"));
        }
    }
}
