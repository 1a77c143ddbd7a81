//! What is wrong with an object, where, and what to write instead.

use std::fmt;

use crate::object::Object;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Taken, but probably not as meant.
    Warning,
    /// Refused.
    Error,
}

/// The code of a condition: Istio's where `istioctl analyze` knows the same one, else ours.
///
/// | code | condition |
/// |---|---|
/// | IST0106 | the object breaks its schema: a misspelt field, a wrong type, a value that is not allowed |
/// | IST0101 | a host, subset, port, Service, delegate or Secret that is named is not there |
/// | IST0109 | several VirtualServices of the mesh have one host |
/// | IST0112 | a destination names no port of a Service that has several |
/// | IST0122 | a regular expression that cannot be compiled, or is too large |
/// | IST0127 | a selector that no pod has |
/// | IST0128 | TLS to a host without a certificate authority to check its certificate by |
/// | IST0129 | the same, for one port |
/// | IST0130 | a rule that no request reaches |
/// | IST0131 | a match that an earlier rule has |
/// | IST0133 | taken, with something that is better written otherwise |
/// | IST0134 | a ServiceEntry without addresses for a port that is not HTTP or TLS |
/// | IST0173 | a subset that no pod is in |
/// | IST0174 | a DestinationRule of a host that nobody has |
/// | HDL0001 | the document is neither YAML nor JSON, or not an object |
/// | HDL0002 | the kind or its version is not known |
/// | HDL0003 | the kind is known and not served yet: stored, and without effect (or denying what it selects) |
/// | HDL0004 | the input exceeds a bound: bytes, documents, nesting, alias expansion |
/// | HDL0005 | a namespace on an object that has none |
/// | HDL0006 | a field of the mesh configuration that is not served |
/// | HDL0007 | a file or directory that cannot be read |
/// | HDL0008 | a delegation to what has hosts, to itself, or to what is not exported; a delegate that nobody names |
/// | HDL0009 | a VirtualService whose host has a route of the Gateway API, which goes before it |
/// | HDL0010 | two DestinationRules of one host in one namespace |
/// | HDL0011 | a backend in another namespace without a ReferenceGrant |
/// | HDL0012 | a rule of a Gateway API route that sends nowhere |
/// | HDL0013 | a NetworkPolicy that keeps the mesh's tunnel (port 15008) out |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs)] // the table above
pub enum Code {
    #[serde(rename = "IST0106")]
    Schema,
    #[serde(rename = "IST0101")]
    NotFound,
    #[serde(rename = "IST0109")]
    ConflictingHosts,
    #[serde(rename = "IST0112")]
    PortRequired,
    #[serde(rename = "IST0122")]
    InvalidRegexp,
    #[serde(rename = "IST0127")]
    NoWorkload,
    #[serde(rename = "IST0128")]
    NoVerification,
    #[serde(rename = "IST0129")]
    NoVerificationOfPort,
    #[serde(rename = "IST0130")]
    UnreachableRule,
    #[serde(rename = "IST0131")]
    IneffectiveMatch,
    #[serde(rename = "IST0133")]
    SchemaWarning,
    #[serde(rename = "IST0134")]
    AddressesRequired,
    #[serde(rename = "IST0173")]
    EmptySubset,
    #[serde(rename = "IST0174")]
    UnknownRuleHost,
    #[serde(rename = "HDL0001")]
    Syntax,
    #[serde(rename = "HDL0002")]
    UnknownKind,
    #[serde(rename = "HDL0003")]
    NotServed,
    #[serde(rename = "HDL0004")]
    Bound,
    #[serde(rename = "HDL0005")]
    ClusterScoped,
    #[serde(rename = "HDL0006")]
    MeshField,
    #[serde(rename = "HDL0007")]
    Unreadable,
    #[serde(rename = "HDL0008")]
    Delegate,
    #[serde(rename = "HDL0009")]
    Shadowed,
    #[serde(rename = "HDL0010")]
    ConflictingRules,
    #[serde(rename = "HDL0011")]
    NotPermitted,
    #[serde(rename = "HDL0012")]
    NoBackend,
    #[serde(rename = "HDL0013")]
    TunnelNotAdmitted,
}

impl Code {
    /// As printed.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Schema => "IST0106",
            Self::NotFound => "IST0101",
            Self::ConflictingHosts => "IST0109",
            Self::PortRequired => "IST0112",
            Self::InvalidRegexp => "IST0122",
            Self::NoWorkload => "IST0127",
            Self::NoVerification => "IST0128",
            Self::NoVerificationOfPort => "IST0129",
            Self::UnreachableRule => "IST0130",
            Self::IneffectiveMatch => "IST0131",
            Self::SchemaWarning => "IST0133",
            Self::AddressesRequired => "IST0134",
            Self::Syntax => "HDL0001",
            Self::UnknownKind => "HDL0002",
            Self::NotServed => "HDL0003",
            Self::Bound => "HDL0004",
            Self::ClusterScoped => "HDL0005",
            Self::MeshField => "HDL0006",
            Self::Unreadable => "HDL0007",
            Self::Delegate => "HDL0008",
            Self::Shadowed => "HDL0009",
            Self::ConflictingRules => "HDL0010",
            Self::NotPermitted => "HDL0011",
            Self::NoBackend => "HDL0012",
            Self::TunnelNotAdmitted => "HDL0013",
            Self::EmptySubset => "IST0173",
            Self::UnknownRuleHost => "IST0174",
        }
    }
}

/// A finding about an object, before it is known where the object stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad.
    pub severity: Severity,
    /// Which condition.
    pub code: Code,
    /// `spec.template.spec.containers[0].image`; empty: the whole object.
    pub path: String,
    /// What is wrong and what to write.
    pub message: String,
}

impl Problem {
    /// A value that the schema does not allow.
    pub fn schema(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code: Code::Schema, path: path.into(), message: message.into() }
    }

    /// Something that is taken all the same.
    pub fn warning(code: Code, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, code, path: path.into(), message: message.into() }
    }

    /// Something that is refused for another reason than the schema.
    pub fn error(code: Code, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, path: path.into(), message: message.into() }
    }
}

/// A finding, as `validate` and `analyze` print it. A text that is not known is empty.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Diagnostic {
    /// As it was named; `-` for standard input.
    pub file: String,
    /// Counts from 0 within the file.
    pub document: usize,
    /// `Deployment`.
    pub kind: String,
    /// As written, or as defaulted when it was stored.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// How bad.
    pub severity: Severity,
    /// Which condition.
    pub code: Code,
    /// Path of the field.
    pub path: String,
    /// What is wrong and what to write.
    pub message: String,
}

impl Diagnostic {
    /// About a document as a whole.
    pub fn of_document(file: &str, document: usize, problem: Problem) -> Self {
        let Problem { severity, code, path, message } = problem;
        Self {
            file: file.to_owned(),
            document,
            kind: String::new(),
            namespace: String::new(),
            name: String::new(),
            severity,
            code,
            path,
            message,
        }
    }

    /// About an object.
    pub fn of_object(file: &str, document: usize, object: &Object, problem: Problem) -> Self {
        Self {
            kind: object.kind.kind.to_owned(),
            namespace: object.namespace.clone().unwrap_or_default(),
            name: object.name.clone(),
            ..Self::of_document(file, document, problem)
        }
    }

    /// Whether the object is refused.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    /// `web.yaml[1]: error IST0106 Deployment default/web: spec.replicas: …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        write!(f, "{}[{}]: {severity} {}", self.file, self.document, self.code.text())?;
        if !self.kind.is_empty() {
            write!(f, " {} ", self.kind)?;
            if !self.namespace.is_empty() {
                write!(f, "{}/", self.namespace)?;
            }
            f.write_str(if self.name.is_empty() { "(no name)" } else { &self.name })?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)
    }
}
