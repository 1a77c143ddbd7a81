//! ServiceEntry and WorkloadEntry as written. Sources: Istio API `networking/v1/service_entry.proto`, `workload_entry.proto`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::normalised::written;
use crate::route::virtual_service::schema::Texts;

written! {
    ServiceEntrySpec {
        hosts: Vec<String>,
        addresses: Vec<String>,
        ports: Vec<ServicePort>,
        location: Option<Location>,
        resolution: Option<Resolution>,
        endpoints: Vec<WorkloadEntrySpec>,
        workload_selector: Option<LabelSelector>,
        export_to: Vec<String>,
        subject_alt_names: Vec<String>,
    }
    ServicePort {
        number: Option<i64>,
        protocol: Option<String>,
        name: Option<String>,
        target_port: Option<i64>,
    }
    LabelSelector { labels: Texts }
    WorkloadEntrySpec {
        address: Option<String>,
        ports: BTreeMap<String, i64>,
        labels: Texts,
        network: Option<String>,
        locality: Option<String>,
        weight: Option<i64>,
        service_account: Option<String>,
    }
}

/// `location`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Location {
    MeshExternal,
    MeshInternal,
}

/// `resolution`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Resolution {
    None,
    Static,
    Dns,
    DnsRoundRobin,
    DynamicDns,
}
