//! What becomes of configurations as CNIs write them.
#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::{Value, json};

use super::*;

fn ours() -> Value {
    json!({"type": "heddle-cni", "socket": "/run/heddle/cni.sock"})
}

fn json_of(text: Option<Vec<u8>>) -> Value {
    serde_json::from_slice(&text.unwrap()).unwrap()
}

#[test]
fn a_chain_gets_the_entry_at_its_end_and_keeps_what_is_not_ours_in_its_order() {
    let text = br#"{"name":"ptp","cniVersion":"0.3.1","x":{"b":1,"a":[2,3.5]},"disableCheck":true,
        "plugins":[{"type":"ptp","zeta":1,"alpha":{"k":"v"}},{"type":"portmap","capabilities":{"portMappings":true}}]}"#;
    let new = with_entry(text, Form::List, &ours()).unwrap().unwrap();
    let expected = json!({"name": "ptp", "cniVersion": "0.3.1", "x": {"b": 1, "a": [2, 3.5]}, "disableCheck": true,
        "plugins": [{"type": "ptp", "zeta": 1, "alpha": {"k": "v"}},
                    {"type": "portmap", "capabilities": {"portMappings": true}}, ours()]});
    // As texts: the order of the fields counts too.
    assert_eq!(serde_json::from_slice::<Value>(&new).unwrap().to_string(), expected.to_string());
    assert_eq!(with_entry(&new, Form::List, &ours()).unwrap(), None, "a second time");
    let old: Value = serde_json::from_slice(text).unwrap();
    assert_eq!(json_of(without_entry(&new, Form::List).unwrap()), old);
    assert_eq!(without_entry(text, Form::List).unwrap(), None, "nothing of ours");
}

#[test]
fn one_plugin_becomes_a_chain_of_two() {
    let text = br#"{"cniVersion":"1.0.0","name":"net","type":"bridge","ipam":{"type":"host-local"}}"#;
    let new = json_of(with_entry(text, Form::Single, &ours()).unwrap());
    let alone =
        json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge", "ipam": {"type": "host-local"}});
    assert_eq!(new, json!({"cniVersion": "1.0.0", "name": "net", "plugins": [alone, ours()]}));
}

#[test]
fn an_old_entry_is_replaced_where_it_stands_and_a_second_one_goes() {
    let text = json!({"name": "n", "plugins": [{"type": "ptp"}, {"type": "heddle-cni", "old": 1}, {"type": "portmap"},
        {"type": "heddle-cni"}]});
    let new = json_of(with_entry(text.to_string().as_bytes(), Form::List, &ours()).unwrap());
    assert_eq!(new, json!({"name": "n", "plugins": [{"type": "ptp"}, ours(), {"type": "portmap"}]}));
}

#[test]
fn what_a_runtime_would_refuse_is_refused_with_the_reason() {
    let cases = [
        (&b"{"[..], Form::List, "EOF"),
        (b"[]", Form::List, "invalid type"),
        (b"{}", Form::List, "no list of plugins"),
        (br#"{"plugins":[]}"#, Form::List, "empty"),
        (br#"{"plugins":[{"type":"ptp"},{}]}"#, Form::List, "plugins[1] has no type"),
        (br#"{"plugins":[{"type":"ptp"}]}"#, Form::Single, ".conflist"),
    ];
    for (text, form, reason) in cases {
        let error = with_entry(text, form, &ours()).unwrap_err();
        assert!(error.contains(reason), "{}: {error}", String::from_utf8_lossy(text));
        assert_eq!(check(text, form).unwrap_err(), error);
    }
}

#[test]
fn the_ending_says_what_a_file_is() {
    let of = |name| Form::of(name);
    assert_eq!(
        [of("10-a.conflist"), of("a.conf"), of("a.json")],
        [Some(Form::List), Some(Form::Single), Some(Form::Single)]
    );
    assert_eq!([of("a.conf.bak"), of("README"), of("a.conflist.heddle-new")], [None; 3]);
}
