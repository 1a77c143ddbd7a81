//! Names of workloads as Istio's telemetry has them: owner, canonical name, canonical revision.

use heddle_proto::istio::workload::WorkloadType;

use super::input::PodInput;

/// What a pod is called in telemetry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// The owner's name: a Deployment's, say.
    pub workload: String,
    /// What the owner is.
    pub kind: WorkloadType,
    /// `service.istio.io/canonical-name`, `app.kubernetes.io/name`, `app`, else the owner's name.
    pub canonical_name: String,
    /// `service.istio.io/canonical-revision`, `app.kubernetes.io/version`, `version`, else `latest`.
    pub canonical_revision: String,
}

/// Names a pod.
pub fn of(name: &str, pod: &PodInput) -> Naming {
    let (workload, kind) = owner(name, pod);
    let label = |keys: [&str; 3]| keys.iter().find_map(|key| pod.labels.get(*key)).cloned();
    let canonical_name = label(["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]);
    let revision = label(["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"]);
    Naming {
        canonical_name: canonical_name.unwrap_or_else(|| workload.clone()),
        canonical_revision: revision.unwrap_or_else(|| "latest".to_owned()),
        workload,
        kind,
    }
}

fn owner(name: &str, pod: &PodInput) -> (String, WorkloadType) {
    let Some((kind, owner)) = &pod.owner else { return (name.to_owned(), WorkloadType::Pod) };
    match kind.as_str() {
        "ReplicaSet" => {
            let hash = pod.labels.get("pod-template-hash").map(|hash| format!("-{hash}"));
            match hash.as_deref().and_then(|hash| owner.strip_suffix(hash)) {
                Some(deployment) => (deployment.to_owned(), WorkloadType::Deployment),
                None => (owner.clone(), WorkloadType::Pod),
            }
        }
        "Job" => match cron_job(owner) {
            Some(cron_job) => (cron_job.to_owned(), WorkloadType::Cronjob),
            None => (owner.clone(), WorkloadType::Job),
        },
        _ => (owner.clone(), WorkloadType::Pod),
    }
}

/// A CronJob's Jobs are called `<name>-<minutes since 1970>`, eight digits in our time.
fn cron_job(job: &str) -> Option<&str> {
    let (name, digits) = job.rsplit_once('-')?;
    (digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(owner: Option<(&str, &str)>, labels: &[(&str, &str)]) -> Naming {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let owner = owner.map(|(kind, name)| (kind.to_owned(), name.to_owned()));
        of("web-7d4b9-x2", &PodInput { labels, owner, ..PodInput::default() })
    }

    #[test]
    fn a_pod_is_called_as_what_owns_it() {
        let hash = [("pod-template-hash", "7d4b9")];
        let rows = [
            (named(Some(("ReplicaSet", "web-7d4b9")), &hash), "web", WorkloadType::Deployment),
            (named(Some(("ReplicaSet", "bare")), &hash), "bare", WorkloadType::Pod),
            (named(Some(("StatefulSet", "db")), &[]), "db", WorkloadType::Pod),
            (named(Some(("DaemonSet", "log")), &[]), "log", WorkloadType::Pod),
            (named(Some(("Job", "once")), &[]), "once", WorkloadType::Job),
            (named(Some(("Job", "tick-28437120")), &[]), "tick", WorkloadType::Cronjob),
            (named(None, &[]), "web-7d4b9-x2", WorkloadType::Pod),
        ];
        for (naming, workload, kind) in rows {
            assert_eq!((naming.workload.as_str(), naming.kind), (workload, kind));
            assert_eq!(
                (naming.canonical_name.as_str(), naming.canonical_revision.as_str()),
                (workload, "latest")
            );
        }
    }

    #[test]
    fn labels_give_canonical_names_in_istios_order() {
        let all = [
            ("app", "c"),
            ("app.kubernetes.io/name", "b"),
            ("service.istio.io/canonical-name", "a"),
            ("version", "v3"),
            ("app.kubernetes.io/version", "v2"),
            ("service.istio.io/canonical-revision", "v1"),
        ];
        let names = |labels: &[(&str, &str)]| {
            let naming = named(None, labels);
            (naming.canonical_name, naming.canonical_revision)
        };
        assert_eq!(names(&all), ("a".to_owned(), "v1".to_owned()));
        assert_eq!(names(&[all[0], all[1], all[3], all[4]]), ("b".to_owned(), "v2".to_owned()));
        assert_eq!(names(&[all[0], all[3]]), ("c".to_owned(), "v3".to_owned()));
    }
}
