//! Plain intent in slightly wrong YAML: a number for a port, one value where a list stands.

use serde_json::{Map, Value};

use crate::report::{At, Notes};

/// Rewrites what is plainly meant into its canonical form.
pub(super) fn mend(value: &mut Value, notes: &mut Notes) {
    let rules = value.pointer_mut("/spec/rules").and_then(Value::as_array_mut);
    let spec = At::root("spec");
    let at = spec.field("rules");
    for (index, rule) in rules.into_iter().flatten().enumerate() {
        let at = at.index(index);
        for (list, field) in [("from", "source"), ("to", "operation")] {
            let at = at.field(list);
            let items = rule.get_mut(list).and_then(Value::as_array_mut);
            for (index, item) in items.into_iter().flatten().enumerate() {
                if let Some(fields) = item.get_mut(field).and_then(Value::as_object_mut) {
                    lists(fields, &at.index(index).field(field), notes);
                }
            }
        }
    }
}

/// Every field of a source or an operation is a list of texts.
fn lists(fields: &mut Map<String, Value>, at: &At<'_>, notes: &mut Notes) {
    for (name, value) in fields {
        let at = at.field(name);
        if value.is_string() || value.is_u64() {
            notes.warning(
                &at,
                format!("one value is taken as a list of one: write `{name}: [{}]`", text(value)),
            );
            *value = vec![value.take()].into();
        }
        let is_ports = matches!(name.as_str(), "ports" | "notPorts");
        for (index, item) in value.as_array_mut().into_iter().flatten().enumerate().filter(|_| is_ports) {
            if item.is_u64() {
                let written = text(item);
                notes.warning(&at.index(index), format!("a port is written as a text here: write {written}"));
                *item = item.to_string().into();
            }
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| format!("\"{value}\""), |text| format!("{text:?}"))
}
