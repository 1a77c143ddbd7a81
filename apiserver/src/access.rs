//! RBAC: who may do what, by the Roles, ClusterRoles and bindings that are stored. What is not granted is denied.

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::request::Asked;
use crate::world::World;

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) groups: Vec<String>,
    /// `authentication.kubernetes.io/pod-name` and so on.
    pub(crate) extra: Vec<(String, String)>,
}

impl User {
    pub(crate) fn named(name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().chain(&["system:authenticated"]);
        Self {
            name: name.to_owned(),
            groups: groups.map(|group| (*group).to_owned()).collect(),
            ..Self::default()
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let extra = self.extra.iter().map(|(key, value)| (key.clone(), json!([value])));
        json!({"username": self.name, "uid": self.uid, "groups": self.groups,
            "extra": extra.collect::<serde_json::Map<_, _>>()})
    }
}

/// What somebody wants to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) verb: String,
    pub(crate) group: String,
    /// `pods`, `pods/status`.
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Wish {
    pub(crate) fn of(asked: &Asked, verb: &str) -> Self {
        let plural = &asked.resource.plural;
        let sub = &asked.subresource;
        Self {
            verb: verb.to_owned(),
            group: asked.resource.group.clone(),
            resource: if sub.is_empty() { plural.clone() } else { format!("{plural}/{sub}") },
            namespace: asked.namespace.clone(),
            // A list or a watch of one name is of that object.
            name: asked.name.clone().or_else(|| Some(asked.selector.name()?.to_owned())).unwrap_or_default(),
        }
    }

    fn is_in(&self, rule: &Value) -> bool {
        let (_, sub) = self.resource.split_once('/').unwrap_or_default();
        let texts = |key: &str| rule[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        texts("verbs").any(|verb| verb == "*" || verb == self.verb)
            && texts("apiGroups").any(|group| group == "*" || group == self.group)
            && texts("resources").any(|resource| {
                resource == "*"
                    || resource == self.resource
                    || (!sub.is_empty() && resource == format!("*/{sub}"))
            })
            && (texts("resourceNames").next().is_none()
                || (!self.name.is_empty() && texts("resourceNames").any(|name| name == self.name)))
    }
}

impl World {
    /// Whether a user may.
    pub(crate) fn allows(&self, user: &User, wish: &Wish) -> bool {
        if !self.rbac || user.groups.iter().any(|group| group == "system:masters") {
            return true;
        }
        let cluster = self.store.all("clusterrolebindings.rbac.authorization.k8s.io");
        let here = self.store.all("rolebindings.rbac.authorization.k8s.io");
        let here = here.filter(|(key, _)| !wish.namespace.is_empty() && key.0 == wish.namespace);
        let bindings = cluster.chain(here).filter(|(_, binding)| binds(binding, user));
        bindings.into_iter().any(|(key, binding)| {
            let rules = self.rules(&key.0, &binding["roleRef"]);
            rules.iter().any(|rule| wish.is_in(rule))
        })
    }

    fn rules(&self, namespace: &str, role: &Value) -> Vec<Value> {
        let name = role["name"].as_str().unwrap_or_default().to_owned();
        let held = match role["kind"].as_str() {
            Some("Role") => self.store.get("roles.rbac.authorization.k8s.io", &(namespace.to_owned(), name)),
            _ => self.store.get("clusterroles.rbac.authorization.k8s.io", &(String::new(), name)),
        };
        held.and_then(|role| role["rules"].as_array()).cloned().unwrap_or_default()
    }

    /// Refuses what is not granted, and remembers that it did.
    pub(crate) fn authorize(&mut self, user: &User, wish: &Wish) -> Result<(), Failure> {
        if self.allows(user, wish) {
            return Ok(());
        }
        let Wish { verb, group, resource, namespace, name } = wish;
        self.denied.push(format!("{}: {verb} {resource}.{group} {namespace}/{name}", user.name));
        let named = if name.is_empty() { String::new() } else { format!(" \"{name}\"") };
        let place = if namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace \"{namespace}\"")
        };
        let message = format!(
            "{resource}{named} is forbidden: User \"{}\" cannot {verb} resource \"{resource}\" in API group \"{group}\" {place}",
            user.name
        );
        Err(Failure::new(403, "Forbidden", message))
    }
}

fn binds(binding: &Value, user: &User) -> bool {
    binding["subjects"].as_array().into_iter().flatten().any(|subject| {
        let name = subject["name"].as_str().unwrap_or_default();
        match subject["kind"].as_str() {
            Some("User") => user.name == name,
            Some("Group") => user.groups.iter().any(|group| group == name),
            Some("ServiceAccount") => {
                let namespace = subject["namespace"].as_str().unwrap_or_default();
                user.name == format!("system:serviceaccount:{namespace}:{name}")
            }
            _ => false,
        }
    })
}
