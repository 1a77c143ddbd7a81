//! Manifests as people write and break them.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n";

fn documents(text: &str) -> Vec<usize> {
    parse("f.yaml", text).objects.into_iter().map(|(document, _)| document).collect()
}

/// (document, code, path) of everything that was found.
fn found(text: &str) -> Vec<(usize, &'static str, String)> {
    let parsed = parse("f.yaml", text);
    parsed.diagnostics.into_iter().map(|found| (found.document, found.code.text(), found.path)).collect()
}

#[test]
fn a_broken_document_is_an_error_with_its_line_and_loses_nothing_else() {
    let text = format!("{NAMESPACE}---\na: [1\nb: 2\n---\n{NAMESPACE}");
    let parsed = parse("f.yaml", &text);
    assert_eq!(documents(&text), [0, 2]);
    assert_eq!(parsed.diagnostics.len(), 1);
    let found = &parsed.diagnostics[0];
    assert_eq!((found.document, found.code, found.severity), (1, Code::Syntax, Severity::Error));
    assert!(found.message.starts_with("line 6"), "{}", found.message);
}

#[test]
fn documents_are_counted_as_yaml_counts_them() {
    let rows = [
        (NAMESPACE.to_owned(), vec![0]),
        (format!("---\n{NAMESPACE}"), vec![0]),
        (format!("# about\n---\n{NAMESPACE}"), vec![0]),
        (format!("%YAML 1.2\n---\n{NAMESPACE}"), vec![0]),
        (format!("\u{feff}{NAMESPACE}---\n{NAMESPACE}"), vec![0, 1]),
        (format!("{NAMESPACE}---\n---\n{NAMESPACE}"), vec![0, 2]),
        (format!("{NAMESPACE}---\n# nothing\n---\n{NAMESPACE}"), vec![0, 2]),
        (format!("{NAMESPACE}...\n---\n{NAMESPACE}"), vec![0, 1]),
        (format!("{NAMESPACE}--- # next\n{NAMESPACE}"), vec![0, 1]),
        (NAMESPACE.replace('\n', "\r\n") + "---\r\n" + NAMESPACE, vec![0, 1]),
        (String::new(), vec![]),
        ("# only a comment\n".to_owned(), vec![]),
        ("---\n---\n".to_owned(), vec![]),
    ];
    for (text, wanted) in rows {
        assert_eq!(documents(&text), wanted, "{text:?}");
        assert_eq!(found(&text), [], "{text:?}");
    }
}

#[test]
fn a_marker_inside_a_block_scalar_is_text() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: |\n    ---\n    b: 1\n";
    let parsed = parse("f", text);
    assert_eq!(parsed.objects[0].1.value["data"]["x"], "---\nb: 1\n");
}

#[test]
fn json_is_taken_alone_and_one_after_another() {
    let json = r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}"#;
    assert_eq!(documents(json), [0]);
    assert_eq!(documents(&format!("{json}\n{json}")), [0, 1]);
    assert_eq!(documents(&format!("{json}\n---\n{json}")), [0, 1]);
}

#[test]
fn lists_are_flattened_and_paths_name_the_item() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n- {apiVersion: v1, kind: Namespace, metadata: {nam: b, name: b}}\n";
    assert_eq!(documents(text), [0]);
    assert_eq!(found(text), [(0, "IST0106", "items[1].metadata.nam".to_owned())]);
    let typed = "apiVersion: v1\nkind: NamespaceList\nitems:\n- metadata: {name: a}\n- metadata: {name: b}\n";
    assert_eq!(documents(typed), [0, 0]);
}

#[test]
fn what_is_no_object_or_of_no_known_kind_is_an_error() {
    let rows = [
        ("- a\n", "HDL0001"),
        ("just text\n", "HDL0001"),
        ("kind: Pod\n", "IST0106"),
        ("apiVersion: v1\n", "IST0106"),
        ("apiVersion: 1\nkind: Pod\n", "IST0106"),
        ("apiVersion: v1\nkind: Widget\n", "HDL0002"),
        ("apiVersion: extensions/v1beta1\nkind: Deployment\n", "HDL0002"),
        ("a: 1\na: 2\n", "HDL0001"),
        ("a: *b\n", "HDL0001"),
    ];
    for (text, code) in rows {
        let found = found(text);
        assert_eq!(found.iter().map(|found| found.1).collect::<Vec<_>>(), [code], "{text:?}");
    }
    let parsed = parse("f", "apiVersion: extensions/v1beta1\nkind: Deployment\n");
    assert!(parsed.diagnostics[0].message.contains("apps/v1"), "{}", parsed.diagnostics[0].message);
    let parsed = parse("f", "apiVersion: v1\nkind: Servce\n");
    assert!(parsed.diagnostics[0].message.contains("Service"), "{}", parsed.diagnostics[0].message);
}

#[test]
fn alias_bombs_are_refused_early() {
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, before) in ('b'..='i').zip('a'..) {
        let items = vec![format!("*{before}"); 10].join(", ");
        bomb.push_str(&format!("{name}: &{name} [{items}]\n"));
    }
    let begun = std::time::Instant::now();
    assert_eq!(found(&bomb).iter().map(|found| found.1).collect::<Vec<_>>(), ["HDL0004"]);
    assert!(begun.elapsed().as_secs() < 20, "it took {:?}", begun.elapsed());
    assert_eq!(documents(&format!("{bomb}---\n{NAMESPACE}")), [1]);
}

#[test]
fn nesting_and_size_are_bounded() {
    for text in
        ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000), "x".repeat((16 << 20) + 1)]
    {
        let found = found(&text);
        assert_eq!(found.len(), 1, "{:?}", &text[..10]);
    }
    let anchors = "a: &a\n  b: 1\nc: *a\n";
    assert_eq!(value(anchors).unwrap().unwrap()["c"]["b"], 1, "ordinary anchors are taken");
}

#[test]
fn numbers_and_booleans_are_those_of_kubernetes() {
    let read =
        value("a: 0644\nb: yes\nc: 0x10\nd: ~\ne: 1.5\nf: \"1\"\ng: 2024-01-01\nh: off\n").unwrap().unwrap();
    let wanted = serde_json::json!({"a": 420, "b": true, "c": 16, "d": null, "e": 1.5, "f": "1", "g": "2024-01-01", "h": false});
    assert_eq!(read, wanted);
}

#[test]
fn a_namespace_on_an_object_that_has_none_is_taken_off_with_a_warning() {
    let parsed = parse("f", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, namespace: b}\n");
    assert_eq!(parsed.diagnostics[0].code, Code::ClusterScoped);
    assert!(parsed.objects[0].1.value.pointer("/metadata/namespace").is_none());
}

#[test]
fn kinds_that_are_not_served_yet_are_taken_with_a_warning() {
    let text = "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: a}\nspec: {jwtRules: []}\n";
    let parsed = parse("f", text);
    assert_eq!((parsed.objects.len(), parsed.diagnostics.len()), (1, 1));
    let found = &parsed.diagnostics[0];
    assert_eq!((found.code, found.severity), (Code::NotServed, Severity::Warning));
    assert!(found.message.contains("denies"), "{}", found.message);
}

#[test]
fn a_diagnostic_has_the_fields_that_scripts_read() {
    let parsed = parse(
        "f.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: b}\nspec: {ports: [{prot: 1, port: 1}]}\n",
    );
    let wanted = serde_json::json!({"file": "f.yaml", "document": 0, "kind": "Service", "namespace": "b", "name": "a",
        "severity": "error", "code": "IST0106", "path": "spec.ports[0].prot",
        "message": "unknown field \"prot\": did you mean \"port\"?"});
    assert_eq!(serde_json::to_value(&parsed.diagnostics[0]).unwrap(), wanted);
}

#[test]
fn the_mesh_configuration_is_checked_inside_its_configmap() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: heddle, namespace: heddle-system}\ndata:\n  mesh: |\n    trustDomain: 1\n    enableTracing: true\n";
    let found = found(text);
    let paths: Vec<&str> = found.iter().map(|found| found.2.as_str()).collect();
    assert_eq!(paths, ["data.mesh: enableTracing", "data.mesh: trustDomain"].to_vec(), "{found:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_breaks_the_reader(text in "[ \\n\\t\\-#:{}\\[\\]&*!|>'\"%@`a-c0-9.,~]{0,200}") {
        parse("f", &text);
    }

    #[test]
    fn a_good_document_survives_between_any_two_others(before in "[ \\n:{}\\[\\]&*'\"a-c]{0,40}", after in "[ \\n:{}\\[\\]&*'\"a-c]{0,40}") {
        let text = format!("{before}\n---\n{NAMESPACE}---\n{after}\n");
        prop_assert!(parse("f", &text).objects.iter().any(|(_, object)| object.name == "a"), "{text:?}");
    }

    #[test]
    fn every_object_that_is_printed_as_json_reads_the_same(name in "[a-z]{1,8}", labels in prop::collection::btree_map("[a-z]{1,8}", "[a-z0-9]{0,8}", 0..4)) {
        let object = serde_json::json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "labels": labels}});
        let yaml = serde_saphyr::to_string(&object).unwrap();
        let (from_yaml, from_json) = (parse("f", &yaml), parse("f", &object.to_string()));
        prop_assert_eq!(&from_yaml.objects, &from_json.objects, "{}", yaml);
        prop_assert_eq!(&from_json.objects[0].1.value, &object);
    }
}
