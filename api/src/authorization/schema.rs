//! AuthorizationPolicy as written. Source: Istio API `security/v1/authorization_policy.proto`.

use serde::Deserialize;

use crate::normalised::written;
use crate::security::WorkloadSelector;

written! {
    AuthorizationPolicySpec {
        selector: Option<WorkloadSelector>,
        target_ref: Option<TargetReference>,
        target_refs: Vec<TargetReference>,
        rules: Option<Vec<Rule>>,
        action: Option<PolicyAction>,
        provider: Option<ExtensionProvider>,
    }
    TargetReference {
        group: Option<String>,
        kind: Option<String>,
        name: Option<String>,
        namespace: Option<String>,
    }
    ExtensionProvider { name: Option<String> }
    Rule { from: Option<Vec<From>>, to: Option<Vec<To>>, when: Option<Vec<Condition>> }
    From { source: Option<Source> }
    To { operation: Option<Operation> }
    Source {
        principals: Vec<String>,
        not_principals: Vec<String>,
        request_principals: Vec<String>,
        not_request_principals: Vec<String>,
        namespaces: Vec<String>,
        not_namespaces: Vec<String>,
        ip_blocks: Vec<String>,
        not_ip_blocks: Vec<String>,
        remote_ip_blocks: Vec<String>,
        not_remote_ip_blocks: Vec<String>,
        service_accounts: Vec<String>,
        not_service_accounts: Vec<String>,
        trust_domains: Vec<String>,
        not_trust_domains: Vec<String>,
    }
    Operation {
        hosts: Vec<String>,
        not_hosts: Vec<String>,
        ports: Vec<String>,
        not_ports: Vec<String>,
        methods: Vec<String>,
        not_methods: Vec<String>,
        paths: Vec<String>,
        not_paths: Vec<String>,
    }
    Condition { key: Option<String>, values: Vec<String>, not_values: Vec<String> }
}

/// `action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum PolicyAction {
    Allow,
    Deny,
    Audit,
    Custom,
}
