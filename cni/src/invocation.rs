//! One call by a runtime: environment and standard input, checked as the specification has it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::enrolled;
use crate::error::{CniError, Code};
use crate::protocol::{self, Key};

/// Namespaces whose pods start while nobody can say what they are: without them no mesh, and no cluster, comes up.
pub const EXCLUDED: [&str; 3] = ["heddle-system", "istio-system", "kube-system"];
/// For the whole of an ADD. The kubelet gives a sandbox four minutes.
const TIMEOUT_SECONDS: u64 = 60;
/// IFNAMSIZ, with its NUL.
const LONGEST_IFNAME: usize = 15;

/// The network configuration, as far as it is ours.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Version of the specification that the runtime chose.
    #[serde(default)]
    pub cni_version: String,
    /// Name of the network.
    #[serde(default)]
    pub name: String,
    /// Result of the plugin before, or of the whole ADD.
    pub prev_result: Option<Value>,
    /// The agent's socket.
    #[serde(default = "default_socket")]
    pub socket: PathBuf,
    /// The list for the time when the agent is away.
    #[serde(default = "default_namespaces_file")]
    pub namespaces_file: PathBuf,
    /// See [`EXCLUDED`].
    #[serde(default = "default_excluded")]
    pub exclude_namespaces: Vec<String>,
    /// For a question to the agent.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: u64,
    /// For GC.
    #[serde(rename = "cni.dev/valid-attachments", default)]
    pub valid_attachments: Option<Vec<Valid>>,
}

/// As the specification spells it.
#[derive(Clone, Debug, Deserialize)]
pub struct Valid {
    /// `CNI_CONTAINERID`.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
}

impl Config {
    /// Reads what came on standard input.
    ///
    /// # Errors
    /// Code 6: it is not the JSON that it should be.
    pub fn read(stdin: &[u8]) -> Result<Self, CniError> {
        serde_json::from_slice(stdin).map_err(|error| {
            CniError::new(
                Code::DECODE,
                "the network configuration cannot be read",
                format!("standard input: {error}"),
            )
        })
    }

    /// Checks what every command but VERSION needs.
    ///
    /// # Errors
    /// Code 7.
    pub fn check(&self) -> Result<(), CniError> {
        let wrong =
            |details: String| Err(CniError::new(Code::CONFIG, "invalid network configuration", details));
        if !is_name(&self.name) {
            return wrong(format!(
                "name '{}' must begin with a letter or digit, and have only those, '_', '.' and '-'",
                self.name
            ));
        }
        if !self.socket.is_absolute() || !self.namespaces_file.is_absolute() {
            return wrong("socket and namespacesFile must be absolute paths".to_owned());
        }
        if !(1..=600).contains(&self.timeout_seconds) {
            return wrong(format!("timeoutSeconds {} is not between 1 and 600", self.timeout_seconds));
        }
        Ok(())
    }

    /// For a question to the agent.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }

    /// Whether pods of a namespace start while nobody can say what they are.
    pub fn excludes(&self, namespace: &str) -> bool {
        self.exclude_namespaces.iter().any(|name| name == namespace)
    }
}

fn default_socket() -> PathBuf {
    protocol::SOCKET.into()
}

fn default_namespaces_file() -> PathBuf {
    enrolled::FILE.into()
}

fn default_excluded() -> Vec<String> {
    EXCLUDED.map(str::to_owned).into()
}

fn default_timeout() -> u64 {
    TIMEOUT_SECONDS
}

/// The environment of a call.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: HashMap<String, String>,
}

/// The pod that a runtime of Kubernetes calls for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodArgs {
    /// `K8S_POD_NAMESPACE`.
    pub namespace: String,
    /// `K8S_POD_NAME`.
    pub name: String,
    /// `K8S_POD_UID`.
    pub uid: String,
}

impl Environment {
    /// From variables; only those of the specification are looked at.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { variables: variables.into_iter().filter(|(name, _)| name.starts_with("CNI_")).collect() }
    }

    /// `CNI_COMMAND`, where a runtime calls.
    pub fn command(&self) -> Option<&str> {
        self.get("CNI_COMMAND")
    }

    /// The attachment.
    ///
    /// # Errors
    /// Code 4, with the names of what is missing or wrong.
    pub fn key(&self) -> Result<Key, CniError> {
        let container_id = self.required("CNI_CONTAINERID")?;
        if !is_name(container_id) {
            return Err(wrong_variable("CNI_CONTAINERID", container_id));
        }
        let ifname = self.required("CNI_IFNAME")?;
        let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if ifname.len() > LONGEST_IFNAME || [".", ".."].contains(&ifname) || ifname.contains(odd) {
            return Err(wrong_variable("CNI_IFNAME", ifname));
        }
        Ok(Key { container_id: container_id.to_owned(), ifname: ifname.to_owned() })
    }

    /// The network namespace.
    ///
    /// # Errors
    /// Code 4.
    pub fn netns(&self) -> Result<PathBuf, CniError> {
        let path = self.required("CNI_NETNS")?;
        if !path.starts_with('/') {
            return Err(wrong_variable("CNI_NETNS", path));
        }
        Ok(path.into())
    }

    /// The pod; `None` when the sandbox is not Kubernetes'.
    ///
    /// # Errors
    /// Code 4: it names a pod, and not its UID.
    pub fn pod(&self) -> Result<Option<PodArgs>, CniError> {
        let text = self.get("CNI_ARGS").unwrap_or_default();
        let mut pairs = HashMap::new();
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| wrong_variable("CNI_ARGS", text))?;
            pairs.insert(key, value);
        }
        let named = |key: &str| pairs.get(key).filter(|value| !value.is_empty());
        let (Some(namespace), Some(name)) = (named("K8S_POD_NAMESPACE"), named("K8S_POD_NAME")) else {
            return Ok(None);
        };
        let missing = || {
            CniError::new(Code::ENVIRONMENT, "invalid environment variables", "CNI_ARGS has no K8S_POD_UID")
        };
        let uid = named("K8S_POD_UID").ok_or_else(missing)?;
        // It becomes the name of a file.
        if !is_name(uid) {
            return Err(wrong_variable("CNI_ARGS", text));
        }
        Ok(Some(PodArgs {
            namespace: (*namespace).to_owned(),
            name: (*name).to_owned(),
            uid: (*uid).to_owned(),
        }))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn required(&self, name: &str) -> Result<&str, CniError> {
        let missing = || {
            CniError::new(Code::ENVIRONMENT, "invalid environment variables", format!("{name} is missing"))
        };
        self.get(name).ok_or_else(missing)
    }
}

fn wrong_variable(name: &str, value: &str) -> CniError {
    CniError::new(Code::ENVIRONMENT, "invalid environment variables", format!("{name} is '{value}'"))
}

/// The specification's names: `^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$`.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}
