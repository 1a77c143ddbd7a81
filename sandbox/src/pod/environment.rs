//! A container's environment and command line: sources resolved, $(VAR) expanded.

use k8s_openapi::api::core::v1::{Container, EnvVarSource};

use crate::store::Store;

use super::PodContext;
use super::volumes::{Missing, data};

pub type Variables = Vec<(String, String)>;

/// The variables of a container in the order of their definition; a later one of the same name wins.
pub fn variables(container: &Container, pod: &PodContext, store: &Store) -> Result<Variables, Missing> {
    let path = std::env::var("PATH")
        .unwrap_or_else(|_| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    let mut known: Variables =
        vec![("PATH".into(), path), ("HOME".into(), "/root".into()), ("HOSTNAME".into(), pod.hostname())];
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.clone().unwrap_or_default();
        let (what, name, optional) = match (&source.config_map_ref, &source.secret_ref) {
            (Some(map), _) => ("ConfigMap", map.name.clone(), map.optional),
            (_, Some(secret)) => ("Secret", secret.name.clone(), secret.optional),
            _ => continue,
        };
        match data(store, what, &pod.namespace, &name) {
            Err(Missing::Object(..)) if optional.unwrap_or(false) => {}
            found => {
                for (key, value) in found? {
                    set(&mut known, format!("{prefix}{key}"), String::from_utf8_lossy(&value).into_owned());
                }
            }
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) => Some(expand(value, &known)),
            (None, Some(source)) => from_source(source, pod, store)?,
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            set(&mut known, variable.name.clone(), value);
        }
    }
    Ok(known)
}

fn from_source(source: &EnvVarSource, pod: &PodContext, store: &Store) -> Result<Option<String>, Missing> {
    let (what, name, key, optional) = if let Some(field) = &source.field_ref {
        let value = pod.field(&field.field_path);
        return value.map(Some).ok_or_else(|| Missing::Unsupported(format!("no field {}", field.field_path)));
    } else if let Some(map) = &source.config_map_key_ref {
        ("ConfigMap", &map.name, &map.key, map.optional)
    } else if let Some(secret) = &source.secret_key_ref {
        ("Secret", &secret.name, &secret.key, secret.optional)
    } else {
        // resourceFieldRef: nothing is limited here, which Kubernetes shows as 0.
        return Ok(Some("0".to_owned()));
    };
    let found = data(store, what, &pod.namespace, name)
        .and_then(|mut data| data.remove(key).ok_or_else(|| Missing::Key(what, name.clone(), key.clone())));
    match found {
        Ok(value) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
        Err(Missing::Object(..) | Missing::Key(..)) if optional.unwrap_or(false) => Ok(None),
        Err(error) => Err(error),
    }
}

fn set(known: &mut Variables, name: String, value: String) {
    known.retain(|(other, _)| *other != name);
    known.push((name, value));
}

/// Replaces `$(NAME)` of known variables; `$$(NAME)` is a literal `$(NAME)`, an unknown one stays as written.
pub fn expand(text: &str, known: &Variables) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out += &rest[..at];
        let tail = &rest[at + 1..];
        if let Some(escaped) = tail.strip_prefix('$') {
            out.push('$');
            rest = escaped;
        } else if let Some((name, after)) = tail.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match known.iter().find(|(other, _)| other == name) {
                Some((_, value)) => out += value,
                None => out += &format!("$({name})"),
            }
            rest = after;
        } else {
            out.push('$');
            rest = tail;
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_expand_as_kubernetes_expands_them() {
        let known = vec![("A".to_owned(), "1".to_owned()), ("B".to_owned(), "$(A)".to_owned())];
        let rows = [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$$(A)", "$(A)"),
            ("$(C)", "$(C)"),
            ("$(B)", "$(A)"),
            ("$A $ $(", "$A $ $("),
        ];
        for (text, want) in rows {
            assert_eq!(expand(text, &known), want, "{text}");
        }
    }
}
