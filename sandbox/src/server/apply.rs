//! `apply`: strict reading of manifests, then each object on its own.
use std::sync::PoisonError;

use heddle_api::manifest;
use heddle_api::object::Object;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ApiError, Server, effects};
use crate::images::ImageMap;
use crate::store;

/// One file's text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    pub file: String,
    pub text: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Apply {
    pub manifests: Vec<Manifest>,
    /// `-n`, when it was given.
    pub namespace: Option<String>,
    pub images: ImageMap,
}

/// What came of it, ready to print.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Applied {
    /// `deployment.apps/backend created`
    pub done: Vec<String>,
    pub warnings: Vec<String>,
    pub errors: Vec<String>,
}

pub(super) fn apply(server: &Server, request: &Apply) -> Result<Value, ApiError> {
    add_images(server, &request.images)?;
    let mut applied = Applied::default();
    for Manifest { file, text } in &request.manifests {
        let parsed = manifest::parse(file, text);
        for diagnostic in &parsed.diagnostics {
            let list = if diagnostic.is_error() { &mut applied.errors } else { &mut applied.warnings };
            list.push(diagnostic.to_string());
        }
        for (_, object) in parsed.objects {
            let title = format!("{}/{}", object.kind.qualified(), object.name);
            match one(server, request, object, &mut applied.warnings) {
                Ok(outcome) => applied.done.push(format!("{title} {outcome}")),
                Err(error) => applied.errors.push(format!("{file}: {title}: {error}")),
            }
        }
    }
    Ok(json!(applied))
}

fn one(
    server: &Server,
    request: &Apply,
    mut object: Object,
    warnings: &mut Vec<String>,
) -> Result<&'static str, ApiError> {
    if let (Some(wanted), Some(own)) = (&request.namespace, &object.namespace)
        && wanted != own
    {
        return Err(ApiError::bad(format!(
            "the namespace from the provided object \"{own}\" does not match the namespace \"{wanted}\". You \
             must pass '--namespace={own}' to perform this operation."
        )));
    }
    object.default_namespace(request.namespace.as_deref().unwrap_or("default"));
    check_images(server, &object)?;
    for warning in effects::without_effect(&object) {
        if server.is_news(&warning) {
            warnings.push(format!("{} {}: {warning}", object.kind.kind, object.name));
        }
    }
    let (applied, _) = server.store.apply(object)?;
    Ok(match applied {
        store::Applied::Created => "created",
        store::Applied::Configured => "configured",
        store::Applied::Unchanged => "unchanged",
    })
}

fn add_images(server: &Server, images: &ImageMap) -> Result<(), ApiError> {
    let all = {
        let mut map = server.images.write().unwrap_or_else(PoisonError::into_inner);
        map.extend(images);
        map.clone()
    };
    if *images != ImageMap::default() {
        crate::up::describe(&server.layout, |value| value["images"] = json!(all))?;
    }
    Ok(())
}

/// An image that nothing stands for is refused here, where the user reads it, not in a pod's status.
fn check_images(server: &Server, object: &Object) -> Result<(), ApiError> {
    let Some(spec) = pod_spec(object) else { return Ok(()) };
    let images = server.images.read().unwrap_or_else(PoisonError::into_inner);
    for list in ["initContainers", "containers"] {
        for container in spec[list].as_array().into_iter().flatten() {
            let image = container["image"].as_str().unwrap_or_default();
            images.resolve(image).map_err(|error| ApiError::bad(error.to_string()))?;
        }
    }
    Ok(())
}

/// The pod spec inside a workload, or a pod's own.
pub(super) fn pod_spec(object: &Object) -> Option<&Value> {
    let path = if object.kind.kind == "Pod" { "/spec" } else { "/spec/template/spec" };
    object.value.pointer(path).filter(|spec| spec["containers"].is_array())
}
