//! The local record of a pod: what the agent reads, and the sign that it has the pod captured.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use heddle_api::enrolment;
use serde_json::json;

use crate::fabric::Attachment;
use crate::pod::PodContext;

use super::{Shared, Stop};

/// How long a pod of the mesh waits for its agent.
const CAPTURE_DEADLINE: Duration = Duration::from_secs(30);
/// Another process writes the sign, so it is looked for; the wait is mostly one or two looks long.
const CAPTURE_LOOK: Duration = Duration::from_millis(10);

/// Written before any container starts, by rename.
pub(super) fn write(shared: &Shared, pod: &PodContext, attachment: &Attachment) -> io::Result<()> {
    let [a, b, c, d, e, f] = attachment.mac;
    let record = json!({
        "uid": pod.uid,
        "namespace": pod.namespace,
        "name": pod.name,
        "serviceAccount": pod.service_account(),
        "node": pod.node,
        "ips": attachment.address.both(),
        "netns": attachment.pause.netns(),
        "hostIfindex": attachment.host_index,
        "hostInterface": attachment.host_interface,
        "mac": format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"),
    });
    let path = shared.layout.pod_record(shared.node.name(), &pod.uid);
    let fresh = path.with_file_name(format!(".{}.new", pod.uid));
    std::fs::write(&fresh, record.to_string())?;
    std::fs::rename(fresh, path)
}

/// Removed after the last container has ended and before the network goes.
pub(super) fn remove(shared: &Shared, uid: &str) -> io::Result<()> {
    gone(&shared.layout.pod_record(shared.node.name(), uid))
}

fn gone(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Returns false when a pod of the mesh was not captured in time; what is not of the mesh need not be.
pub(super) async fn captured(shared: &Shared, pod: &PodContext, stop: &mut Stop) -> bool {
    let sign = shared.layout.captured(shared.node.name(), &pod.uid);
    let deadline = tokio::time::Instant::now() + CAPTURE_DEADLINE;
    while tokio::time::Instant::now() < deadline {
        if !enrolled(shared, pod) || sign.exists() || stop.borrow().is_some() {
            return true;
        }
        tokio::time::sleep(CAPTURE_LOOK).await;
    }
    false
}

fn enrolled(shared: &Shared, pod: &PodContext) -> bool {
    let Some(namespace) = shared.store.get(shared.namespaces, None, &pod.namespace) else { return false };
    let labels: BTreeMap<_, _> = pod.labels.iter().cloned().collect();
    enrolment::pod_enrolled(&namespace.labels(), &labels, pod.host_network())
}
