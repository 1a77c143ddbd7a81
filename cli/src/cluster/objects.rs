//! Objects of the API server as JSON: read, listed, applied, deleted.

use std::pin::pin;

use futures_util::{AsyncBufReadExt, StreamExt};
use http::{Method, Request, header};
use kube::api::ListParams;
use serde_json::Value;

use super::{Cluster, Trouble};

/// For one page of a list.
const PAGE: u32 = 500;
/// Who we are in `metadata.managedFields`.
pub(crate) const MANAGER: &str = "heddle";

/// A kind, as a path has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resource<'a> {
    /// `v1`, `apps/v1`.
    pub(crate) api_version: &'a str,
    /// `pods`.
    pub(crate) plural: &'a str,
}

pub(crate) const PODS: Resource<'static> = Resource { api_version: "v1", plural: "pods" };
pub(crate) const NODES: Resource<'static> = Resource { api_version: "v1", plural: "nodes" };

/// Of an object that Heddle installs or that is of a kind it reads.
pub(crate) fn resource_of(object: &Value) -> Option<Resource<'_>> {
    const OTHERS: [(&str, &str); 5] = [
        ("ClusterRole", "clusterroles"),
        ("ClusterRoleBinding", "clusterrolebindings"),
        ("CustomResourceDefinition", "customresourcedefinitions"),
        ("Role", "roles"),
        ("RoleBinding", "rolebindings"),
    ];
    let (api_version, kind) = (object["apiVersion"].as_str()?, object["kind"].as_str()?);
    let known = heddle_api::kind::find(api_version, kind).map(|info| info.plural);
    let other = || OTHERS.iter().find(|(name, _)| *name == kind).map(|(_, plural)| *plural);
    Some(Resource { api_version, plural: known.or_else(other)? })
}

impl Resource<'_> {
    fn path(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let api = if self.api_version.contains('/') { "apis" } else { "api" };
        let namespace = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
        let name = name.map(|name| format!("/{name}")).unwrap_or_default();
        format!("/{api}/{}{namespace}/{}{name}", self.api_version, self.plural)
    }
}

impl Cluster {
    /// One object.
    pub(crate) async fn get(
        &self,
        resource: Resource<'_>,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Value, Trouble> {
        self.read(&resource.path(namespace, Some(name))).await
    }

    /// Every object; of one namespace, or of all.
    pub(crate) async fn list(
        &self,
        resource: Resource<'_>,
        namespace: Option<&str>,
        selector: &str,
    ) -> Result<Vec<Value>, Trouble> {
        let path = resource.path(namespace, None);
        let mut found = Vec::new();
        let mut next = None;
        loop {
            let mut params = ListParams::default().labels(selector).limit(PAGE);
            params.continue_token = next.take();
            let request = kube::core::Request::new(path.as_str()).list(&params);
            let request = request.map_err(|error| Trouble::Other(error.to_string()))?;
            let mut list: Value = self.within(self.client.request(request)).await?;
            if let Some(items) = list["items"].as_array_mut() {
                found.append(items);
            }
            match list["metadata"]["continue"].as_str() {
                Some(more) if !more.is_empty() => next = Some(more.to_owned()),
                _ => return Ok(found),
            }
        }
    }

    /// Whatever this path answers.
    pub(crate) async fn read(&self, path: &str) -> Result<Value, Trouble> {
        let request = Request::get(path).header(header::ACCEPT, "application/json").body(Vec::new());
        let request = request.map_err(|error| Trouble::Other(error.to_string()))?;
        self.within(self.client.request(request)).await
    }

    /// Text, as of `pods/NAME/log`.
    pub(crate) async fn read_text(&self, path: &str) -> Result<String, Trouble> {
        let request = Request::get(path).body(Vec::new());
        let request = request.map_err(|error| Trouble::Other(error.to_string()))?;
        self.within(self.client.request_text(request)).await
    }

    /// The same line by line, for as long as it goes on and `line` wants more.
    pub(crate) async fn read_lines(
        &self,
        path: &str,
        mut line: impl FnMut(&str) -> bool,
    ) -> Result<(), Trouble> {
        let request = Request::get(path).body(Vec::new());
        let request = request.map_err(|error| Trouble::Other(error.to_string()))?;
        let mut lines = pin!(self.within(self.client.request_stream(request)).await?.lines());
        while let Some(read) = lines.next().await {
            if !line(&read.map_err(|error| Trouble::Unreachable(error.to_string()))?) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Server-side apply by `heddle`; `force` takes over fields of other managers.
    pub(crate) async fn apply(
        &self,
        resource: Resource<'_>,
        object: &Value,
        force: bool,
    ) -> Result<Value, Trouble> {
        let metadata = &object["metadata"];
        let path = resource.path(metadata["namespace"].as_str(), metadata["name"].as_str());
        let path = format!("{path}?fieldManager={MANAGER}&force={force}&fieldValidation=Strict");
        self.send(Method::PATCH, &path, "application/apply-patch+yaml", object).await
    }

    /// A question that is an object (`SelfSubjectAccessReview`), or a new object.
    pub(crate) async fn create(
        &self,
        resource: Resource<'_>,
        namespace: Option<&str>,
        object: &Value,
    ) -> Result<Value, Trouble> {
        let path = format!("{}?fieldManager={MANAGER}", resource.path(namespace, None));
        self.send(Method::POST, &path, "application/json", object).await
    }

    /// Deletes; what depends on it goes first where that is asked for. Whether it was there.
    pub(crate) async fn delete(
        &self,
        resource: Resource<'_>,
        namespace: Option<&str>,
        name: &str,
        propagation: &str,
    ) -> Result<bool, Trouble> {
        let path = resource.path(namespace, Some(name));
        let options = serde_json::json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation });
        match self.send(Method::DELETE, &path, "application/json", &options).await {
            Ok(_gone) => Ok(true),
            Err(trouble) if trouble.is_absent() => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }

    async fn send(&self, method: Method, path: &str, kind: &str, body: &Value) -> Result<Value, Trouble> {
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
        let request = request.header(header::ACCEPT, "application/json").body(body.to_string().into_bytes());
        let request = request.map_err(|error| Trouble::Other(error.to_string()))?;
        self.within(self.client.request(request)).await
    }
}
