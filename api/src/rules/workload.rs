//! Workloads that make pods from a template.

use std::collections::BTreeMap;

use super::look::Look;
use super::{labels, pod};
use crate::diagnostic::Problem;

pub(super) fn check(kind: &str, spec: &Look<'_>, problems: &mut Vec<Problem>) {
    spec.get("replicas").within(0, i64::from(i32::MAX), problems);
    let template = spec.get("template");
    selector(&spec.get("selector"), &template.get("metadata").get("labels"), problems);
    check_template(&template, problems);
    let restart = template.get("spec").get("restartPolicy");
    if let Some(policy) = restart.text().filter(|policy| *policy != "Always") {
        problems.push(restart.wrong(format!("is {policy}; the pods of a {kind} take Always only")));
    }
    match kind {
        "Deployment" => spec.get("strategy").get("type").one_of(&["RollingUpdate", "Recreate"], problems),
        "StatefulSet" => {
            spec.get("podManagementPolicy").one_of(&["OrderedReady", "Parallel"], problems);
            spec.get("updateStrategy").get("type").one_of(&["RollingUpdate", "OnDelete"], problems);
        }
        "DaemonSet" => {
            spec.get("updateStrategy").get("type").one_of(&["RollingUpdate", "OnDelete"], problems)
        }
        _ => {}
    }
}

pub(super) fn check_job(spec: &Look<'_>, problems: &mut Vec<Problem>) {
    for field in ["completions", "parallelism", "backoffLimit", "activeDeadlineSeconds"] {
        spec.get(field).within(0, i64::from(i32::MAX), problems);
    }
    let template = spec.get("template");
    check_template(&template, problems);
    let restart = template.get("spec").get("restartPolicy");
    if restart.text().is_none_or(|policy| policy == "Always") && template.is_there() {
        problems.push(restart.wrong("is required for the pods of a Job: write OnFailure or Never"));
    }
}

fn check_template(template: &Look<'_>, problems: &mut Vec<Problem>) {
    if !template.is_there() {
        problems.push(template.wrong("is required"));
        return;
    }
    labels(&template.get("metadata").get("labels"), problems);
    pod::check(&template.get("spec"), problems);
}

/// The selector must be there, and must select the pods of the template.
fn selector(selector: &Look<'_>, template: &Look<'_>, problems: &mut Vec<Problem>) {
    let (wanted, expressions) = (selector.get("matchLabels"), selector.get("matchExpressions"));
    if wanted.is_empty() && expressions.is_empty() {
        problems.push(wanted.wrong("is required: write labels that spec.template.metadata.labels has"));
        return;
    }
    labels(&wanted, problems);
    let has: BTreeMap<&str, &str> =
        template.fields().filter_map(|label| Some((label.key(), label.text()?))).collect();
    for label in wanted.fields() {
        let (key, want) = (label.key(), label.text());
        if want.is_some() && has.get(key).copied() != want {
            let found = has.get(key).map_or("has no such label".to_owned(), |found| format!("has {found:?}"));
            let message = format!("does not select the pods: spec.template.metadata.labels {found}");
            problems.push(label.wrong(message));
        }
    }
    for expression in expressions.items() {
        self::expression(&expression, &has, problems);
    }
}

fn expression(expression: &Look<'_>, has: &BTreeMap<&str, &str>, problems: &mut Vec<Problem>) {
    let (key, operator) = (expression.get("key"), expression.get("operator"));
    key.required(problems);
    operator.required(problems);
    operator.one_of(&["In", "NotIn", "Exists", "DoesNotExist"], problems);
    let (Some(key), Some(operator)) = (key.text(), operator.text()) else { return };
    let values: Vec<&str> = expression.get("values").items().filter_map(|value| value.text()).collect();
    if matches!(operator, "In" | "NotIn") && values.is_empty() {
        problems.push(expression.get("values").wrong(format!("is required for {operator}")));
        return;
    }
    let found = has.get(key);
    let selects = match operator {
        "In" => found.is_some_and(|found| values.contains(found)),
        "NotIn" => found.is_none_or(|found| !values.contains(found)),
        "Exists" => found.is_some(),
        _ => found.is_none(),
    };
    if !selects {
        problems.push(expression.wrong("does not select the pods of spec.template.metadata.labels"));
    }
}
