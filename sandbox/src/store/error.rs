//! Why the store refused, in the words of an API server.
use heddle_api::kind::KindInfo;
use heddle_api::object::Object;

/// A refusal; `Display` is what kubectl prints after `Error from server (Reason): `.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{resource} \"{name}\" not found")]
    NotFound { resource: String, name: String },
    #[error("{resource} \"{name}\" already exists")]
    AlreadyExists { resource: String, name: String },
    #[error(
        "Operation cannot be fulfilled on {resource} \"{name}\": the object has been modified; please apply \
         your changes to the latest version and try again"
    )]
    Conflict { resource: String, name: String },
    #[error("{kind} \"{name}\" is invalid: {path}: {message}")]
    Invalid { kind: &'static str, name: String, path: String, message: String },
    #[error("{resource} \"{name}\" is forbidden: {message}")]
    Forbidden { resource: String, name: String, message: String },
    #[error(
        "{resource} \"{name}\" has {size} bytes as it is stored, {most} is the most: split it into several objects"
    )]
    TooLarge { resource: String, name: String, size: usize, most: usize },
    #[error("cannot write {path}: {source}")]
    Disk { path: String, source: std::io::Error },
}

impl StoreError {
    /// The API server's reason word.
    pub fn reason(&self) -> &'static str {
        match self {
            StoreError::NotFound { .. } => "NotFound",
            StoreError::AlreadyExists { .. } => "AlreadyExists",
            StoreError::Conflict { .. } => "Conflict",
            StoreError::Invalid { .. } => "Invalid",
            StoreError::Forbidden { .. } => "Forbidden",
            StoreError::TooLarge { .. } => "RequestEntityTooLarge",
            StoreError::Disk { .. } => "InternalError",
        }
    }

    pub(crate) fn missing(kind: &KindInfo, name: &str) -> StoreError {
        StoreError::NotFound { resource: resource(kind), name: name.to_owned() }
    }

    pub(crate) fn exists(object: &Object) -> StoreError {
        StoreError::AlreadyExists { resource: resource(object.kind), name: object.name.clone() }
    }

    pub(crate) fn conflict(object: &Object) -> StoreError {
        StoreError::Conflict { resource: resource(object.kind), name: object.name.clone() }
    }

    pub(crate) fn too_large(object: &Object, size: usize, most: usize) -> StoreError {
        StoreError::TooLarge { resource: resource(object.kind), name: object.name.clone(), size, most }
    }

    pub(crate) fn invalid(object: &Object, path: &str, message: impl Into<String>) -> StoreError {
        let (kind, name) = (object.kind.kind, object.name.clone());
        StoreError::Invalid { kind, name, path: path.to_owned(), message: message.into() }
    }

    pub(crate) fn forbidden(object: &Object, message: impl Into<String>) -> StoreError {
        let (resource, name) = (resource(object.kind), object.name.clone());
        StoreError::Forbidden { resource, name, message: message.into() }
    }
}

fn resource(kind: &KindInfo) -> String {
    if kind.group.is_empty() { kind.plural.to_owned() } else { format!("{}.{}", kind.plural, kind.group) }
}
