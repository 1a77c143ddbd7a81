//! Plain intent in slightly wrong YAML: a bare number for a port selector, one subset where a list stands.

use serde_json::{Value, json};

use crate::report::{At, Notes};

/// Rewrites what is plainly meant into its canonical form.
pub(super) fn mend(value: &mut Value, notes: &mut Notes) {
    let Some(spec) = value.get_mut("spec") else { return };
    let at = At::root("spec");
    list(spec, "subsets", &at, notes);
    policy(spec, &at, notes);
    let subsets_at = at.field("subsets");
    let subsets = spec.get_mut("subsets").and_then(Value::as_array_mut);
    for (index, subset) in subsets.into_iter().flatten().enumerate() {
        policy(subset, &subsets_at.index(index), notes);
    }
}

fn policy(holder: &mut Value, at: &At<'_>, notes: &mut Notes) {
    let Some(policy) = holder.get_mut("trafficPolicy") else { return };
    let at = at.field("trafficPolicy");
    list(policy, "portLevelSettings", &at, notes);
    let at = at.field("portLevelSettings");
    let settings = policy.get_mut("portLevelSettings").and_then(Value::as_array_mut);
    for (index, setting) in settings.into_iter().flatten().enumerate() {
        let Some(port) = setting.get_mut("port") else { continue };
        if let Some(number) = port.as_i64() {
            let at = at.index(index);
            notes.warning(
                &at.field("port"),
                format!("is taken as the number: write `port: {{number: {number}}}`"),
            );
            *port = json!({"number": number});
        }
    }
}

fn list(holder: &mut Value, field: &str, at: &At<'_>, notes: &mut Notes) {
    let Some(item) = holder.get_mut(field).filter(|value| value.is_object()) else { return };
    notes.warning(
        &at.field(field),
        format!("one item is taken as a list of one: write `{field}:` and below it `- …`"),
    );
    *item = vec![item.take()].into();
}
