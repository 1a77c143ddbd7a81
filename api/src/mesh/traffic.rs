//! What the mesh configuration says of traffic where no object does.

use heddle_core::store::MeshTraffic;
use serde::Deserialize;

use super::MeshConfig;
use crate::duration;
use crate::normalised::{Context, written};
use crate::report::{At, Notes};
use crate::route::hosts;
use crate::route::virtual_service;
use crate::upstream::destination_rule::locality;

written! {
    PathNormalization { normalization: Option<Normalization> }
}

/// `accessLogEncoding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum LogEncoding {
    Text,
    Json,
}

/// `pathNormalization.normalization`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Normalization {
    Default,
    None,
    Base,
    MergeSlashes,
    DecodeAndMergeSlashes,
}

impl Normalization {
    const fn text(self) -> &'static str {
        match self {
            Self::Default => "DEFAULT",
            Self::None => "NONE",
            Self::Base => "BASE",
            Self::MergeSlashes => "MERGE_SLASHES",
            Self::DecodeAndMergeSlashes => "DECODE_AND_MERGE_SLASHES",
        }
    }
}

impl MeshConfig {
    /// How traffic is treated where no object says otherwise.
    pub fn traffic(&self) -> MeshTraffic {
        self.traffic.clone()
    }

    /// What the meaning of objects depends on.
    pub fn context(&self, cluster_domain: &str) -> Context {
        Context {
            trust_domain: self.trust_domain().to_owned(),
            cluster_domain: cluster_domain.to_owned(),
            ..self.defaults.clone()
        }
    }
}

/// The defaults for traffic and for `exportTo`.
pub(super) fn read(written: &super::WrittenMesh, notes: &mut Notes) -> (MeshTraffic, Context) {
    let at = At::root;
    let retries = written.default_http_retry_policy.as_ref();
    let traffic = MeshTraffic {
        retries: retries
            .map(|retries| virtual_service::retries(retries, &at("defaultHttpRetryPolicy"), notes)),
        locality: written
            .locality_lb_setting
            .as_ref()
            .map(|setting| locality(setting, &at("localityLbSetting"), notes)),
        connect_timeout: duration::istio(written.connect_timeout.as_deref(), &at("connectTimeout"), notes),
        access_log_off: written.access_log_file.as_deref() == Some(""),
        access_log_json: written.access_log_encoding == Some(LogEncoding::Json),
        access_log_format: written.access_log_format.clone().filter(|format| !format.is_empty()),
        path_normalization: written.path_normalization.as_ref().and_then(normalization),
    };
    if written.access_log_file.as_deref().is_some_and(|file| !matches!(file, "" | "/dev/stdout")) {
        notes.unserved(
            &at("accessLogFile"),
            "is not served: the access log goes to the agent's standard output, as with /dev/stdout",
        );
    }
    let mut exports = |field: &'static str, names: &[String]| {
        hosts::check_export_to(names, &at(field), notes);
        names.to_vec()
    };
    let context = Context {
        virtual_service_export_to: exports(
            "defaultVirtualServiceExportTo",
            &written.default_virtual_service_export_to,
        ),
        destination_rule_export_to: exports(
            "defaultDestinationRuleExportTo",
            &written.default_destination_rule_export_to,
        ),
        service_export_to: exports("defaultServiceExportTo", &written.default_service_export_to),
        ..Context::default()
    };
    (traffic, context)
}

fn normalization(written: &PathNormalization) -> Option<String> {
    Some(written.normalization?.text().to_owned())
}
