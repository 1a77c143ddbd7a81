//! Precedence of PeerAuthentication, row by row.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

/// Objects as text: `<namespace>/<name>@<age> [app=x] <MODE> [port=MODE …]`, separated by `;`.
fn objects(text: &str) -> Vec<(String, String, PeerAuthenticationInput)> {
    text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(object).collect()
}

fn object(text: &str) -> (String, String, PeerAuthenticationInput) {
    let mut words = text.split_whitespace();
    let (place, created) = words.next().unwrap().split_once('@').unwrap();
    let (namespace, name) = place.split_once('/').unwrap();
    let mut policy = PeerAuthenticationInput { created: created.into(), ..Default::default() };
    for word in words {
        match word.split_once('=') {
            None => policy.mode = mode(word),
            Some((port, value)) => match port.parse() {
                Ok(port) => drop(policy.ports.insert(port, mode(value))),
                Err(_) => drop(policy.selector.insert(port.into(), value.into())),
            },
        }
    }
    (namespace.into(), name.into(), policy)
}

fn mode(text: &str) -> Option<MtlsMode> {
    match text {
        "UNSET" => None,
        "DISABLE" => Some(MtlsMode::Disable),
        "PERMISSIVE" => Some(MtlsMode::Permissive),
        "STRICT" => Some(MtlsMode::Strict),
        other => unreachable!("{other}"),
    }
}

/// What a pod of `ns` labelled app=a takes: on port 80, and on port 8080.
const ROWS: &[(&str, &str, &str)] = &[
    // Nothing said.
    ("", "PERMISSIVE", "PERMISSIVE"),
    // One level each.
    ("istio-system/m@1 STRICT", "STRICT", "STRICT"),
    ("heddle-system/m@1 STRICT", "STRICT", "STRICT"),
    ("istio-system/m@1 DISABLE", "DISABLE", "DISABLE"),
    ("istio-system/m@1 PERMISSIVE", "PERMISSIVE", "PERMISSIVE"),
    ("istio-system/m@1 UNSET", "PERMISSIVE", "PERMISSIVE"),
    ("ns/n@1 STRICT", "STRICT", "STRICT"),
    ("ns/n@1 DISABLE", "DISABLE", "DISABLE"),
    ("ns/n@1 UNSET", "PERMISSIVE", "PERMISSIVE"),
    ("ns/w@1 app=a STRICT", "STRICT", "STRICT"),
    ("ns/w@1 app=a DISABLE", "DISABLE", "DISABLE"),
    ("ns/w@1 app=a UNSET", "PERMISSIVE", "PERMISSIVE"),
    // Others' policies.
    ("other/n@1 STRICT", "PERMISSIVE", "PERMISSIVE"),
    ("other/w@1 app=a STRICT", "PERMISSIVE", "PERMISSIVE"),
    ("ns/w@1 app=b STRICT", "PERMISSIVE", "PERMISSIVE"),
    ("ns/w@1 app=a tier=x STRICT", "PERMISSIVE", "PERMISSIVE"),
    ("ns/w@1 app=a v=1 STRICT", "STRICT", "STRICT"),
    // A selector in a root namespace selects nothing.
    ("istio-system/w@1 app=a STRICT", "PERMISSIVE", "PERMISSIVE"),
    ("heddle-system/w@1 app=a STRICT", "PERMISSIVE", "PERMISSIVE"),
    ("istio-system/w@1 app=a 8080=STRICT", "PERMISSIVE", "PERMISSIVE"),
    // The nearer level wins.
    ("istio-system/m@1 STRICT; ns/n@1 PERMISSIVE", "PERMISSIVE", "PERMISSIVE"),
    ("istio-system/m@1 PERMISSIVE; ns/n@1 STRICT", "STRICT", "STRICT"),
    ("istio-system/m@1 STRICT; ns/w@1 app=a PERMISSIVE", "PERMISSIVE", "PERMISSIVE"),
    ("ns/n@1 STRICT; ns/w@1 app=a DISABLE", "DISABLE", "DISABLE"),
    ("istio-system/m@1 STRICT; ns/n@1 DISABLE; ns/w@1 app=a PERMISSIVE", "PERMISSIVE", "PERMISSIVE"),
    ("ns/n@1 STRICT; ns/w@1 app=b PERMISSIVE", "STRICT", "STRICT"),
    // UNSET inherits.
    ("istio-system/m@1 STRICT; ns/n@1 UNSET", "STRICT", "STRICT"),
    ("istio-system/m@1 STRICT; ns/w@1 app=a UNSET", "STRICT", "STRICT"),
    ("istio-system/m@1 STRICT; ns/n@1 UNSET; ns/w@1 app=a UNSET", "STRICT", "STRICT"),
    ("istio-system/m@1 STRICT; ns/n@1 PERMISSIVE; ns/w@1 app=a UNSET", "PERMISSIVE", "PERMISSIVE"),
    ("istio-system/m@1 UNSET; ns/n@1 STRICT", "STRICT", "STRICT"),
    // The oldest of a level wins; then the first by name.
    ("ns/x@2 STRICT; ns/y@1 DISABLE", "DISABLE", "DISABLE"),
    ("ns/x@1 STRICT; ns/y@2 DISABLE", "STRICT", "STRICT"),
    ("ns/x@1 STRICT; ns/y@1 DISABLE", "STRICT", "STRICT"),
    ("ns/y@1 DISABLE; ns/x@1 STRICT", "STRICT", "STRICT"),
    ("istio-system/x@2 STRICT; heddle-system/y@1 DISABLE", "DISABLE", "DISABLE"),
    ("istio-system/x@1 STRICT; heddle-system/y@2 DISABLE", "STRICT", "STRICT"),
    ("ns/x@2 app=a STRICT; ns/y@1 app=a DISABLE", "DISABLE", "DISABLE"),
    ("ns/x@2 app=a STRICT; ns/y@1 app=b DISABLE", "STRICT", "STRICT"),
    // The oldest wins even where it says nothing: the level below does not see the younger one.
    ("ns/x@1 UNSET; ns/y@2 STRICT", "PERMISSIVE", "PERMISSIVE"),
    ("istio-system/m@1 STRICT; ns/x@1 UNSET; ns/y@2 DISABLE", "STRICT", "STRICT"),
    // Ports.
    ("ns/w@1 app=a STRICT 8080=PERMISSIVE", "STRICT", "PERMISSIVE"),
    ("ns/w@1 app=a PERMISSIVE 8080=STRICT", "PERMISSIVE", "STRICT"),
    ("ns/w@1 app=a 8080=STRICT", "PERMISSIVE", "STRICT"),
    ("ns/w@1 app=a STRICT 8080=DISABLE", "STRICT", "DISABLE"),
    ("ns/w@1 app=a STRICT 8080=UNSET", "STRICT", "STRICT"),
    ("ns/n@1 STRICT; ns/w@1 app=a 8080=UNSET", "STRICT", "STRICT"),
    ("ns/n@1 STRICT; ns/w@1 app=a 8080=DISABLE", "STRICT", "DISABLE"),
    ("istio-system/m@1 STRICT; ns/w@1 app=a UNSET 8080=PERMISSIVE", "STRICT", "PERMISSIVE"),
    ("ns/w@1 app=a DISABLE 8080=STRICT", "DISABLE", "STRICT"),
    ("ns/w@1 app=b STRICT 8080=DISABLE; ns/n@1 PERMISSIVE", "PERMISSIVE", "PERMISSIVE"),
    // Ports of the second policy of a level do not count, nor do those without a selector.
    ("ns/x@1 app=a STRICT; ns/y@2 app=a 8080=DISABLE", "STRICT", "STRICT"),
    ("ns/n@1 STRICT 8080=DISABLE", "STRICT", "STRICT"),
    ("istio-system/m@1 STRICT 8080=DISABLE", "STRICT", "STRICT"),
];

#[test]
fn every_row_has_the_mode_that_istio_gives() {
    assert!(ROWS.len() >= 40);
    let labels = [("app", "a"), ("v", "1")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    for (text, any, port) in ROWS {
        let objects = objects(text);
        let candidates =
            objects.iter().map(|(namespace, name, policy)| Candidate { namespace, name, policy });
        let policy = effective("ns", &labels, candidates).policy;
        assert_eq!(Some(policy.mode(80)), mode(any), "port 80 of {text:?}");
        assert_eq!(Some(policy.mode(8080)), mode(port), "port 8080 of {text:?}");
    }
}

#[test]
fn the_order_in_which_objects_are_seen_does_not_matter() {
    let labels = [("app".to_owned(), "a".to_owned())].into();
    for (text, any, port) in ROWS.iter().filter(|row| !row.0.contains("v=1")) {
        let mut objects = objects(text);
        objects.reverse();
        let candidates =
            objects.iter().map(|(namespace, name, policy)| Candidate { namespace, name, policy });
        let policy = effective("ns", &labels, candidates).policy;
        assert_eq!((Some(policy.mode(80)), Some(policy.mode(8080))), (mode(any), mode(port)), "{text:?}");
    }
}

#[test]
fn a_policy_of_a_root_namespace_speaks_for_its_own_pods_as_for_the_mesh() {
    let objects = objects("istio-system/m@2 STRICT; heddle-system/m@1 DISABLE");
    let candidates = objects.iter().map(|(namespace, name, policy)| Candidate { namespace, name, policy });
    let policy = effective("istio-system", &Labels::new(), candidates).policy;
    assert_eq!(policy.default_mode(), MtlsMode::Disable, "the oldest of the mesh level");
}
