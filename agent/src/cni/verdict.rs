//! What is known of a pod that wants to start: pure, of one snapshot.

use std::sync::Arc;
use std::time::Duration;

use heddle_cni::error::{CniError, Code};
use heddle_cni::protocol::Attachment;
use heddle_core::names::PodUid;
use heddle_core::snapshot::Snapshot;
use heddle_core::workload::LocalWorkload;

/// For the controller's word about a pod whose namespace is enrolled, or before there is any configuration.
const ENROLLED: Duration = Duration::from_secs(10);
/// The same where the namespace is not: then the pod starts.
const OTHERS: Duration = Duration::from_secs(5);
/// While there is no connection to the controller: it may come back.
const DISCONNECTED: Duration = Duration::from_secs(2);

/// The controller's word.
pub(super) fn word(snapshot: &Snapshot, pod: &Attachment) -> Result<Option<Arc<LocalWorkload>>, CniError> {
    let Some(local) = snapshot.local(&PodUid::new(pod.uid.as_str())) else { return Ok(None) };
    if *local.name != *pod.name || local.identity.namespace() != pod.namespace {
        let details = format!(
            "the runtime says that pod {} is {}/{}, the controller says {}/{}",
            pod.uid,
            pod.namespace,
            pod.name,
            local.identity.namespace(),
            local.name
        );
        return Err(CniError::new(Code::REFUSED, "the pod is not who the runtime says", details));
    }
    Ok(Some(local.clone()))
}

/// How long to wait for a word.
pub(super) fn patience(snapshot: &Snapshot, connected: bool, pod: &Attachment) -> Duration {
    let (fresh, enrolled) = (snapshot.generation().0 == 0, holds(snapshot, &pod.namespace));
    match () {
        () if pod.excluded && !enrolled => Duration::ZERO,
        () if (fresh || enrolled) && connected => ENROLLED,
        () if fresh || enrolled => DISCONNECTED,
        () if connected => OTHERS,
        () => Duration::ZERO,
    }
}

/// Whether a pod may start of which no word came.
pub(super) fn without_word(snapshot: &Snapshot, pod: &Attachment) -> Result<(), CniError> {
    let again = |details: String| Err(CniError::new(Code::AGAIN, "the pod cannot be captured now", details));
    if pod.excluded {
        return Ok(());
    }
    if snapshot.generation().0 == 0 {
        return again("heddle-agent has no configuration yet: its controller has not answered".to_owned());
    }
    if holds(snapshot, &pod.namespace) {
        let (namespace, name, uid) = (&pod.namespace, &pod.name, &pod.uid);
        return again(format!(
            "namespace {namespace} is enrolled, and the controller has not said what pod {name} ({uid}) is"
        ));
    }
    Ok(())
}

fn holds(snapshot: &Snapshot, namespace: &str) -> bool {
    snapshot.mesh().enrolled_namespaces.binary_search_by(|name| name.as_str().cmp(namespace)).is_ok()
}
