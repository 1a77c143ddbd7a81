//! `heddle.v1.LocalWorkload`.

use heddle_core::identity::Identity;
use heddle_core::mtls::{MtlsMode, MtlsPolicy};
use heddle_core::names::{PodUid, WorkloadUid};
use heddle_core::workload::{L7Mode, LocalWorkload};
use heddle_proto::heddle::v1 as wire;

use super::{Change, policy_names, port};

pub(super) fn decode(wire: &wire::LocalWorkload, trust_domain: &str) -> Result<(String, Change), String> {
    if !is_uid(&wire.pod_uid) {
        return Err(format!("'{}' is not the UID of a pod", wire.pod_uid));
    }
    if wire.name.is_empty() || wire.workload_uid.is_empty() {
        return Err("it has no name or no workload UID".to_owned());
    }
    let trust_domain = if wire.trust_domain.is_empty() { trust_domain } else { &wire.trust_domain };
    let identity = Identity::new(trust_domain, &wire.namespace, &wire.service_account)
        .map_err(|error| format!("its identity: {error}"))?;
    let exceptions = wire
        .port_mtls_modes
        .iter()
        .map(|(number, value)| Ok((port(*number)?, mode(*value)?)))
        .collect::<Result<Vec<_>, String>>()?;
    let local = LocalWorkload {
        pod_uid: PodUid::new(wire.pod_uid.as_str()),
        workload_uid: WorkloadUid::new(wire.workload_uid.as_str()),
        name: wire.name.as_str().into(),
        identity,
        enrolled: wire.enrolled,
        mtls: MtlsPolicy::new(mode(wire.mtls_mode)?, exceptions),
        policies: policy_names(wire.authorization_policies.clone())?,
        labels: wire.labels.clone().into_iter().collect(),
        l7: l7(wire.l7)?,
    };
    Ok((wire.pod_uid.clone(), Change::Local(local)))
}

pub(super) fn l7(value: i32) -> Result<L7Mode, String> {
    match wire::L7Mode::try_from(value) {
        Ok(wire::L7Mode::L7Auto) => Ok(L7Mode::Auto),
        Ok(wire::L7Mode::L7Rules) => Ok(L7Mode::Rules),
        Ok(wire::L7Mode::L7Never) => Ok(L7Mode::Never),
        Err(_unknown) => Err(format!("L7 mode {value} is not known")),
    }
}

/// UIDs name files below the keys directory: nothing in one may lead anywhere else.
fn is_uid(text: &str) -> bool {
    !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn mode(value: i32) -> Result<MtlsMode, String> {
    match wire::MtlsMode::try_from(value) {
        Ok(wire::MtlsMode::Disable) => Ok(MtlsMode::Disable),
        Ok(wire::MtlsMode::Permissive) => Ok(MtlsMode::Permissive),
        Ok(wire::MtlsMode::Strict) => Ok(MtlsMode::Strict),
        Ok(wire::MtlsMode::Unspecified) | Err(_) => Err(format!("mTLS mode {value} is not known")),
    }
}
