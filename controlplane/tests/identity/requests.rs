//! Requests for certificates that are to come to nothing, and those that are to come to exactly one name.
#![allow(clippy::unwrap_used, reason = "tests")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use heddle_proto::istio::v1::auth::IstioCertificateRequest;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256,
    PKCS_RSA_SHA512, SanType, SignatureAlgorithm,
};
use serde_json::{Value, json};
use tonic::Code;

use crate::world::{World, ask, impersonate, pod, with};

fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

fn request(key: &KeyPair, params: &CertificateParams) -> String {
    params.serialize_request(key).unwrap().pem().unwrap()
}

fn der(csr: &str) -> Vec<u8> {
    x509_parser::pem::parse_x509_pem(csr.as_bytes()).unwrap().1.contents
}

fn block(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn csr_of(der: &[u8]) -> String {
    block("CERTIFICATE REQUEST", der)
}

fn flipped(csr: &str, from_end: usize) -> String {
    let mut der = der(csr);
    let at = der.len() - from_end;
    der[at] ^= 1;
    csr_of(&der)
}

/// Signing requests that prove no P-256 key.
pub(crate) fn wrong_keys() -> Vec<(&'static str, String)> {
    let none = CertificateParams::default();
    let p256 = key(&PKCS_ECDSA_P256_SHA256);
    let good = request(&p256, &none);
    let of = |algorithm| request(&key(algorithm), &none);
    let longer = {
        let mut der = der(&good);
        der.extend([0, 0]);
        csr_of(&der)
    };
    let short = {
        let der = der(&good);
        csr_of(&der[..der.len() - 20])
    };
    // The body of one request under the signature of another.
    let swapped = {
        let (a, b) = (der(&good), der(&of(&PKCS_ECDSA_P256_SHA256)));
        let at = a.len().min(b.len()) - 60;
        let mut both = a[..at].to_vec();
        both.extend(&b[b.len() - (a.len() - at)..]);
        csr_of(&both)
    };
    let certificate = none.clone().self_signed(&p256).unwrap().pem();
    vec![
        ("RSA-2048", of(&PKCS_RSA_SHA256)),
        ("RSA with SHA-512", of(&PKCS_RSA_SHA512)),
        ("P-384", of(&PKCS_ECDSA_P384_SHA384)),
        ("P-521", of(&PKCS_ECDSA_P521_SHA512)),
        ("Ed25519", of(&PKCS_ED25519)),
        ("nothing", String::new()),
        ("spaces", " \n".into()),
        ("garbage", "garbage".into()),
        ("17 KiB", "A".repeat(17 * 1024)),
        ("a block without an end", good.replace("-----END CERTIFICATE REQUEST-----", "")),
        (
            "a block that is empty",
            "-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n".into(),
        ),
        ("no base64", good.replace("MI", "!!")),
        ("a certificate", certificate.clone()),
        ("a key", block("PRIVATE KEY", &p256.serialize_der())),
        ("a request under another label", good.replace("CERTIFICATE REQUEST", "CERTIFICATE")),
        ("two requests", format!("{good}{good}")),
        ("a request and a certificate", format!("{good}{certificate}")),
        ("a request and bytes behind its block", format!("{good}x")),
        ("bytes behind the request", longer),
        ("a request that is cut off", short),
        ("an integer", csr_of(&[2, 1, 0])),
        ("an empty sequence", csr_of(&[0x30, 0])),
        ("a changed signature", flipped(&good, 3)),
        ("a changed key", flipped(&good, 110)),
        ("the signature of another key", swapped),
    ]
}

/// Requests with a proven key that ask for more than a key is worth.
pub(crate) fn greedy_keys() -> Vec<(&'static str, String)> {
    let p256 = key(&PKCS_ECDSA_P256_SHA256);
    let of = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = CertificateParams::default();
        change(&mut params);
        request(&p256, &params)
    };
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    vec![
        ("nothing more", of(&|_| {})),
        (
            "another identity",
            of(&|params| params.subject_alt_names = vec![uri("spiffe://cluster.local/ns/ns/sa/admin")]),
        ),
        (
            "another trust domain",
            of(&|params| params.subject_alt_names = vec![uri("spiffe://evil/ns/ns/sa/sa")]),
        ),
        (
            "its own identity twice",
            of(&|params| {
                params.subject_alt_names =
                    vec![uri("spiffe://cluster.local/ns/ns/sa/sa"), uri("spiffe://cluster.local/ns/ns/sa/sa")]
            }),
        ),
        (
            "a name of the DNS",
            of(&|params| {
                params.subject_alt_names =
                    vec![SanType::DnsName("kubernetes.default.svc".try_into().unwrap())]
            }),
        ),
        (
            "an address",
            of(&|params| params.subject_alt_names = vec![SanType::IpAddress("10.96.0.1".parse().unwrap())]),
        ),
        (
            "an address for mail",
            of(&|params| params.subject_alt_names = vec![SanType::Rfc822Name("a@b".try_into().unwrap())]),
        ),
        ("a common name", of(&|params| params.distinguished_name.push(DnType::CommonName, "system:masters"))),
        (
            "an organisation",
            of(&|params| params.distinguished_name.push(DnType::OrganizationName, "system:masters")),
        ),
        ("to be an authority", of(&|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))),
        ("to sign certificates", of(&|params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign])),
        (
            "an extension that nobody knows",
            of(&|params| {
                params.custom_extensions =
                    vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0])]
            }),
        ),
        ("the old label", of(&|_| {}).replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")),
        ("lines as Windows ends them", of(&|_| {}).replace('\n', "\r\n")),
    ]
}

/// Pods and identities that are not for the agent of `n1`, each with the code of its refusal.
pub(crate) async fn wrong_subjects(world: &World) -> Vec<(&'static str, IstioCertificateRequest, Code)> {
    let double = &world.double;
    let of = |name: &str, node: &str, change: &dyn Fn(&mut Value)| {
        let mut pod = pod(name, node);
        pod["metadata"]["name"] = name.into();
        // An account of its own: no other pod has its identity.
        pod["spec"]["serviceAccountName"] = format!("sa-{name}").into();
        change(&mut pod);
        double.put(pod)["metadata"]["uid"].as_str().unwrap().to_owned()
    };
    double.namespace("out", &json!({}));
    double.namespace("left", &json!({"heddle.dev/mesh": "disabled", "istio-injection": "enabled"}));
    let label = |key: &'static str, value: &'static str| {
        move |pod: &mut Value| pod["metadata"]["labels"][key] = value.into()
    };
    let place =
        |namespace: &'static str| move |pod: &mut Value| pod["metadata"]["namespace"] = namespace.into();
    let good = of("good", "n1", &|_| {});
    let uids = [
        ("a pod of n2", of("there", "n2", &|_| {})),
        ("a pod that is nowhere yet", of("nowhere", "", &|_| {})),
        ("a pod that succeeded", of("done", "n1", &|pod| pod["status"]["phase"] = "Succeeded".into())),
        ("a pod that failed", of("broken", "n1", &|pod| pod["status"]["phase"] = "Failed".into())),
        ("a pod in its node's network", of("host", "n1", &|pod| pod["spec"]["hostNetwork"] = true.into())),
        (
            "a pod in its node's network with a label",
            of("host2", "n1", &|pod| {
                pod["spec"]["hostNetwork"] = true.into();
                pod["metadata"]["labels"]["heddle.dev/mesh"] = "enabled".into();
            }),
        ),
        ("a pod that stays out", of("without", "n1", &label("heddle.dev/mesh", "disabled"))),
        ("a pod without a sidecar", of("bare", "n1", &label("sidecar.istio.io/inject", "false"))),
        ("a pod of no ambient mesh", of("none", "n1", &label("istio.io/dataplane-mode", "none"))),
        ("a pod of a namespace that is not in the mesh", of("stranger", "n1", &place("out"))),
        ("a pod of a namespace that left the mesh", of("leaver", "n1", &place("left"))),
        ("a pod that is deleted", {
            let uid = of("gone", "n1", &|_| {});
            double.remove("pods", "ns", "gone");
            uid
        }),
        (
            "the agent itself",
            double.get("pods", "heddle-system", "heddle-agent-n1").unwrap()["metadata"]["uid"]
                .as_str()
                .unwrap()
                .to_owned(),
        ),
        (
            "the agent of n2",
            double.get("pods", "heddle-system", "heddle-agent-n2").unwrap()["metadata"]["uid"]
                .as_str()
                .unwrap()
                .to_owned(),
        ),
        ("a UID that nobody has", "11111111-2222-4333-a444-555555555555".to_owned()),
        ("half a UID", good[..18].to_owned()),
        ("a UID in capitals", good.to_uppercase()),
        ("a UID and a space", format!("{good} ")),
        ("a UID and a NUL", format!("{good}\0")),
        ("a name for a UID", "ns/good".to_owned()),
        ("a star", "*".to_owned()),
    ];
    world.settled().await;
    let mut all: Vec<_> = uids.iter().map(|(name, uid)| (*name, ask(uid), Code::PermissionDenied)).collect();
    all.push(("no UID", ask(""), Code::InvalidArgument));
    all.push(("a UID of 3,000 letters", ask(&"u".repeat(3000)), Code::InvalidArgument));
    all.push(("another field", with("PodUid", &good, crate::world::csr()), Code::InvalidArgument));
    all.push(("no fields", IstioCertificateRequest { metadata: None, ..ask("") }, Code::InvalidArgument));
    for (name, identity) in IDENTITIES {
        all.push((name, impersonate(identity), Code::PermissionDenied));
    }
    all
}

/// What a ztunnel of `n1` may not ask for.
const IDENTITIES: [(&str, &str); 26] = [
    ("another trust domain", "spiffe://elsewhere/ns/ns/sa/sa-good"),
    ("a trust domain that begins alike", "spiffe://cluster.local.evil/ns/ns/sa/sa-good"),
    ("no trust domain", "spiffe:///ns/ns/sa/sa-good"),
    ("a trust domain in capitals", "spiffe://CLUSTER.LOCAL/ns/ns/sa/sa-good"),
    ("a trust domain and a dot", "spiffe://cluster.local./ns/ns/sa/sa-good"),
    ("a trust domain and a port", "spiffe://cluster.local:443/ns/ns/sa/sa-good"),
    ("a trust domain and a user", "spiffe://root@cluster.local/ns/ns/sa/sa-good"),
    ("another scheme", "https://cluster.local/ns/ns/sa/sa-good"),
    ("a scheme in capitals", "SPIFFE://cluster.local/ns/ns/sa/sa-good"),
    ("no scheme", "cluster.local/ns/ns/sa/sa-good"),
    ("a slash at the end", "spiffe://cluster.local/ns/ns/sa/sa-good/"),
    ("two slashes", "spiffe://cluster.local//ns/ns/sa/sa-good"),
    ("more path", "spiffe://cluster.local/ns/ns/sa/sa-good/x"),
    ("less path", "spiffe://cluster.local/ns/ns/sa"),
    ("a query", "spiffe://cluster.local/ns/ns/sa/sa-good?x"),
    ("a fragment", "spiffe://cluster.local/ns/ns/sa/sa-good#x"),
    ("an escape", "spiffe://cluster.local/ns/ns/sa/sa%2Dgood"),
    ("dots", "spiffe://cluster.local/ns/x/../ns/sa/sa-good"),
    ("a NUL", "spiffe://cluster.local/ns/ns/sa/sa-good\0"),
    ("a space", " spiffe://cluster.local/ns/ns/sa/sa-good"),
    ("another account", "spiffe://cluster.local/ns/ns/sa/admin"),
    ("another namespace", "spiffe://cluster.local/ns/default/sa/sa-good"),
    ("an identity of n2's pods", "spiffe://cluster.local/ns/ns/sa/sa-there"),
    ("an identity of pods that ended", "spiffe://cluster.local/ns/ns/sa/sa-done"),
    ("the agent's own", "spiffe://cluster.local/ns/heddle-system/sa/heddle-agent"),
    ("the controller's own", "spiffe://cluster.local/ns/heddle-system/sa/heddle-controller"),
];
