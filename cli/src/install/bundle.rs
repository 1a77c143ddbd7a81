//! The files of `manifests/`, as they are built in, with what the flags of `heddle install` change in them.

use serde_json::Value;

use crate::failure::Failure;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../manifests/", $name)))),*]
    };
}

/// Definitions, in the order of `manifests/crds/kustomization.yaml`.
const CRDS: &[(&str, &str)] = files![
    "crds/gateway.networking.k8s.io_gatewayclasses.yaml",
    "crds/gateway.networking.k8s.io_gateways.yaml",
    "crds/gateway.networking.k8s.io_httproutes.yaml",
    "crds/gateway.networking.k8s.io_grpcroutes.yaml",
    "crds/gateway.networking.k8s.io_tlsroutes.yaml",
    "crds/gateway.networking.k8s.io_tcproutes.yaml",
    "crds/gateway.networking.k8s.io_referencegrants.yaml",
    "crds/networking.istio.io_virtualservices.yaml",
    "crds/networking.istio.io_destinationrules.yaml",
    "crds/networking.istio.io_gateways.yaml",
    "crds/networking.istio.io_sidecars.yaml",
    "crds/networking.istio.io_serviceentries.yaml",
    "crds/networking.istio.io_workloadentries.yaml",
    "crds/security.istio.io_peerauthentications.yaml",
    "crds/security.istio.io_authorizationpolicies.yaml",
    "crds/security.istio.io_requestauthentications.yaml",
    "crds/telemetry.istio.io_telemetries.yaml",
];

/// What runs, in the order of `manifests/base/kustomization.yaml`.
const BASE: &[(&str, &str)] = files![
    "base/namespace.yaml",
    "base/accounts.yaml",
    "base/controller-rbac.yaml",
    "base/controller.yaml",
    "base/agent.yaml",
];

/// As the manifests have them; what a flag says stands in their place.
const REGISTRY: &str = "heddle.dev/";
const TAG: &str = concat!(":", env!("CARGO_PKG_VERSION"));
const CONF_DIR: &str = "/etc/cni/net.d";
const BIN_DIR: &str = "/opt/cni/bin";
/// Arguments behind which the trust domain is said, to the controller and to the agent.
const ARGUMENTS: [&str; 2] = ["- --registry=kubernetes\n", "- --cni-socket=/run/heddle/cni.sock\n"];

/// What may be chosen.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Choices {
    /// Trust domain of all identities; else cluster.local.
    #[arg(long, value_name = "DOMAIN", value_parser = word)]
    trust_domain: Option<String>,

    /// Where the images come from, in the place of heddle.dev: registry.example:5000/mesh.
    #[arg(long, value_name = "REGISTRY", value_parser = word)]
    image_registry: Option<String>,

    /// Tag of the images; else this program's version.
    #[arg(long, value_name = "TAG", value_parser = word)]
    tag: Option<String>,

    /// Where the nodes' runtime has its network configurations; else /etc/cni/net.d.
    #[arg(long, value_name = "DIR", value_parser = folder)]
    cni_conf_dir: Option<String>,

    /// Where the nodes' runtime has its network plugins; else /opt/cni/bin.
    #[arg(long, value_name = "DIR", value_parser = folder)]
    cni_bin_dir: Option<String>,
}

/// Nothing that would mean something else in YAML.
fn word(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:/".contains(c);
    let right = text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain);
    let text = text.trim_end_matches('/');
    if right {
        Ok(text.to_owned())
    } else {
        Err("letters, digits, '.', '_', '-', ':' and '/' only".to_owned())
    }
}

fn folder(text: &str) -> Result<String, String> {
    let below = text.strip_prefix('/').ok_or("write an absolute path")?;
    Ok(format!("/{}", word(below)?))
}

/// Everything that is installed.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// Texts of files, definitions first.
    texts: Vec<(String, String)>,
}

impl Bundle {
    /// With these choices.
    pub(crate) fn new(choices: &Choices) -> Self {
        let texts = CRDS.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let base = BASE.iter().map(|(name, text)| ((*name).to_owned(), choices.within(text)));
        Self { texts: texts.chain(base).collect() }
    }

    /// One text, for `kubectl apply -f -`.
    pub(crate) fn yaml(&self) -> String {
        let document =
            |(name, text): &(String, String)| format!("---\n# manifests/{name}\n{}\n", text.trim_end());
        self.texts.iter().map(document).collect()
    }

    /// The definitions.
    pub(crate) fn crds(&self) -> Result<Vec<Value>, Failure> {
        self.objects("crds/")
    }

    /// What runs, in the order in which it can be made.
    pub(crate) fn base(&self) -> Result<Vec<Value>, Failure> {
        self.objects("base/")
    }

    fn objects(&self, folder: &str) -> Result<Vec<Value>, Failure> {
        let mut objects = Vec::new();
        for (name, text) in self.texts.iter().filter(|(name, _)| name.starts_with(folder)) {
            let parsed = serde_saphyr::from_multiple::<Value>(text);
            objects.extend(parsed.map_err(|error| Failure(format!("manifests/{name}: {error}")))?);
        }
        Ok(objects)
    }
}

impl Choices {
    fn within(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let mut put = |old: &str, new: Option<String>| {
            if let Some(new) = new {
                text = text.replace(old, &new);
            }
        };
        put(TAG, self.tag.as_ref().map(|tag| format!(":{tag}")));
        put(REGISTRY, self.image_registry.as_ref().map(|registry| format!("{registry}/")));
        put(CONF_DIR, self.cni_conf_dir.clone());
        put(BIN_DIR, self.cni_bin_dir.clone());
        for line in ARGUMENTS {
            let said =
                self.trust_domain.as_ref().map(|domain| format!("{line}        - --trust-domain={domain}\n"));
            put(line, said);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::path::Path;

    /// Files that a kustomization names, with its folder.
    fn resources(folder: &str) -> Vec<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
        let text = std::fs::read_to_string(root.join(folder).join("kustomization.yaml")).unwrap();
        let kustomization: Value = serde_saphyr::from_str(&text).unwrap();
        let names = kustomization["resources"].as_array().unwrap().iter();
        names.map(|name| format!("{folder}{}", name.as_str().unwrap())).collect()
    }

    #[test]
    fn what_is_built_in_is_what_kustomize_takes_and_in_its_order() {
        assert_eq!(resources(""), ["crds", "base"]);
        for (folder, files) in [("crds/", CRDS), ("base/", BASE)] {
            let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, resources(folder));
        }
    }

    #[test]
    fn what_is_printed_is_what_is_applied_and_the_same_every_time() {
        let bundle = Bundle::new(&Choices::default());
        let printed = serde_saphyr::from_multiple::<Value>(&bundle.yaml()).unwrap();
        assert_eq!(printed, [bundle.crds().unwrap(), bundle.base().unwrap()].concat());
        assert_eq!(bundle.yaml(), Bundle::new(&Choices::default()).yaml());
        assert!(
            printed.iter().all(|object| object["kind"].is_string() && object["metadata"]["name"].is_string())
        );
    }

    #[test]
    fn every_choice_is_found_in_every_place_of_it() {
        let choices = Choices {
            trust_domain: Some("example.org".to_owned()),
            image_registry: Some("registry.example:5000/mesh".to_owned()),
            tag: Some("v9".to_owned()),
            cni_conf_dir: Some("/var/lib/k3s/net.d".to_owned()),
            cni_bin_dir: Some("/var/lib/k3s/bin".to_owned()),
        };
        let bundle = Bundle::new(&choices);
        let text = bundle.yaml();
        for image in ["controller", "agent", "cni"] {
            assert_eq!(
                text.matches(&format!("image: registry.example:5000/mesh/heddle-{image}:v9\n")).count(),
                1
            );
        }
        assert_eq!(text.matches("- --trust-domain=example.org").count(), 2);
        for old in ["image: heddle.dev", CONF_DIR, BIN_DIR] {
            assert!(!text.contains(old), "{old}");
        }
        let objects = bundle.base().unwrap();
        let agent = objects.iter().find(|object| object["kind"] == "DaemonSet").unwrap();
        let volumes = agent["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
        assert!(volumes.iter().any(|volume| volume["hostPath"]["path"] == "/var/lib/k3s/net.d"));
        let arguments = agent["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
        assert!(arguments.contains(&"--trust-domain=example.org".into()), "{arguments:?}");
    }

    #[test]
    fn values_that_would_mean_something_else_in_yaml_are_refused() {
        for wrong in ["", "a b", "a\nb", "{x}", "a#b", "-x"] {
            assert!(word(wrong).is_err() && folder(&format!("/{wrong}")).is_err(), "{wrong:?}");
        }
        assert!(folder("relative").is_err());
        assert_eq!(word("registry.example:5000/mesh/").unwrap(), "registry.example:5000/mesh");
    }
}
