//! Volumes: emptyDir, configMap, secret, downwardAPI and projected, as directories of the pod.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use heddle_api::kind;
use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Volume, VolumeProjection};
use serde_json::Value;

use crate::store::Store;

use super::PodContext;

/// Where each volume of a pod lies on the host.
#[derive(Clone, Debug, Default)]
pub struct Volumes(BTreeMap<String, PathBuf>);

/// Something that a pod refers to does not exist (yet), or cannot be served here.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    #[error("{0} \"{1}\" not found")]
    Object(&'static str, String),
    #[error("{0} \"{1}\" has no key {2:?}")]
    Key(&'static str, String, String),
    #[error("{0}")]
    Unsupported(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

type Files = BTreeMap<String, Vec<u8>>;

impl Volumes {
    /// Writes every volume below `directory`.
    pub fn write(directory: &Path, pod: &PodContext, store: &Store) -> Result<Self, Missing> {
        let mut volumes = BTreeMap::new();
        for volume in pod.spec.volumes.iter().flatten() {
            let path = directory.join("volumes").join(&volume.name);
            if let Some(path) = place(volume, path, pod, store)? {
                volumes.insert(volume.name.clone(), path);
            }
        }
        Ok(Self(volumes))
    }

    pub fn get(&self, name: &str) -> Option<&Path> {
        self.0.get(name).map(PathBuf::as_path)
    }
}

fn place(
    volume: &Volume,
    path: PathBuf,
    pod: &PodContext,
    store: &Store,
) -> Result<Option<PathBuf>, Missing> {
    if let Some(host) = &volume.host_path {
        return Ok(Some(host.path.clone().into()));
    }
    if volume.empty_dir.is_some() {
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
        return Ok(Some(path));
    }
    let files = if let Some(source) = &volume.config_map {
        config_map(store, pod, &source.name, &source.items, source.optional)?
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.clone().unwrap_or_default();
        secret(store, pod, &name, &source.items, source.optional)?
    } else if let Some(source) = &volume.downward_api {
        downward(pod, source.items.as_deref().unwrap_or_default())?
    } else if let Some(source) = &volume.projected {
        let mut files = Files::new();
        for source in source.sources.iter().flatten() {
            files.extend(projected(store, pod, source)?);
        }
        files
    } else {
        return Err(Missing::Unsupported(format!(
            "volume {:?}: this kind of volume is not served here",
            volume.name
        )));
    };
    fs::create_dir_all(&path)?;
    for (name, content) in files {
        let file = path.join(name.trim_start_matches('/'));
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(file, content)?;
    }
    Ok(Some(path))
}

fn projected(store: &Store, pod: &PodContext, source: &VolumeProjection) -> Result<Files, Missing> {
    let mut files = Files::new();
    if let Some(source) = &source.config_map {
        files.extend(config_map(store, pod, &source.name, &source.items, source.optional)?);
    }
    if let Some(source) = &source.secret {
        files.extend(secret(store, pod, &source.name, &source.items, source.optional)?);
    }
    if let Some(source) = &source.downward_api {
        files.extend(downward(pod, source.items.as_deref().unwrap_or_default())?);
    }
    if let Some(source) = &source.service_account_token {
        files.insert(source.path.clone(), token(pod, source.audience.as_deref()));
    }
    Ok(files)
}

/// Nobody in the sandbox checks such a token; programs only want a file that names the account.
fn token(pod: &PodContext, audience: Option<&str>) -> Vec<u8> {
    let audience = audience.unwrap_or("https://kubernetes.default.svc.cluster.local");
    let subject = format!("system:serviceaccount:{}:{}", pod.namespace, pod.service_account());
    let claims = serde_json::json!({"aud": [audience], "sub": subject}).to_string();
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    format!("{}.{}.", engine.encode(r#"{"alg":"none"}"#), engine.encode(claims)).into_bytes()
}

/// The data of a ConfigMap or Secret, decoded.
pub(super) fn data(store: &Store, what: &'static str, namespace: &str, name: &str) -> Result<Files, Missing> {
    let absent = || Missing::Object(what, name.to_owned());
    let kind = kind::find("v1", what).ok_or_else(absent)?;
    let object = store.get(kind, Some(namespace), name).ok_or_else(absent)?;
    let section = |key: &str| object.value.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
    let decode = |text: &Value| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text.as_str().unwrap_or_default());
        bytes.map_err(|error| Missing::Unsupported(format!("{what} {name:?}: {error}")))
    };
    let plain = |text: &Value| text.as_str().unwrap_or_default().as_bytes().to_vec();
    let mut files = Files::new();
    let (encoded, text) = if what == "Secret" { ("data", "stringData") } else { ("binaryData", "data") };
    for (key, value) in section(encoded) {
        files.insert(key, decode(&value)?);
    }
    files.extend(section(text).iter().map(|(key, value)| (key.clone(), plain(value))));
    Ok(files)
}

fn config_map(
    store: &Store,
    pod: &PodContext,
    name: &str,
    items: &Option<Vec<KeyToPath>>,
    optional: Option<bool>,
) -> Result<Files, Missing> {
    chosen("ConfigMap", name, data(store, "ConfigMap", &pod.namespace, name), items, optional)
}

fn secret(
    store: &Store,
    pod: &PodContext,
    name: &str,
    items: &Option<Vec<KeyToPath>>,
    optional: Option<bool>,
) -> Result<Files, Missing> {
    chosen("Secret", name, data(store, "Secret", &pod.namespace, name), items, optional)
}

fn chosen(
    what: &'static str,
    name: &str,
    found: Result<Files, Missing>,
    items: &Option<Vec<KeyToPath>>,
    optional: Option<bool>,
) -> Result<Files, Missing> {
    let optional = optional.unwrap_or(false);
    let mut found = match found {
        Err(Missing::Object(..)) if optional => return Ok(Files::new()),
        found => found?,
    };
    let Some(items) = items else { return Ok(found) };
    let mut files = Files::new();
    for item in items {
        match found.remove(&item.key) {
            Some(content) => drop(files.insert(item.path.clone(), content)),
            None if optional => {}
            None => return Err(Missing::Key(what, name.to_owned(), item.key.clone())),
        }
    }
    Ok(files)
}

fn downward(pod: &PodContext, items: &[DownwardAPIVolumeFile]) -> Result<Files, Missing> {
    let mut files = Files::new();
    for item in items {
        let Some(field) = &item.field_ref else { continue };
        let value = pod.field(&field.field_path);
        let value = value.ok_or_else(|| Missing::Unsupported(format!("no field {}", field.field_path)))?;
        files.insert(item.path.clone(), value.into_bytes());
    }
    Ok(files)
}
