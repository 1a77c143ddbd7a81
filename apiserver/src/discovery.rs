//! Which groups, versions and resources there are, and the paths that are no resources.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::failure::{Answer, Failure};
use crate::resource::Resource;
use crate::world::World;

impl World {
    /// What is answered at a path that names no resource.
    pub(crate) fn discover(&self, path: &str) -> Answer<Value> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        match parts.as_slice() {
            ["version"] => Ok(
                json!({"major": "1", "minor": "36", "gitVersion": "v1.36.0-double", "platform": "linux/amd64"}),
            ),
            ["api"] => {
                Ok(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}))
            }
            ["apis"] => {
                let groups: Vec<Value> =
                    self.groups().into_keys().filter_map(|name| self.group(&name)).collect();
                Ok(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
            }
            ["apis", group] => self.group(group).ok_or_else(Failure::no_such_path),
            ["api", version] => self.list_of("", version),
            ["apis", group, version] => self.list_of(group, version),
            _ => Err(Failure::no_such_path()),
        }
    }

    fn groups(&self) -> BTreeMap<String, Vec<String>> {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for resource in self.resources().iter().filter(|resource| !resource.group.is_empty()) {
            let versions = groups.entry(resource.group.clone()).or_default();
            versions.extend(
                resource
                    .versions
                    .iter()
                    .filter(|version| !versions.contains(version))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
        }
        groups
    }

    fn group(&self, name: &str) -> Option<Value> {
        let versions = self.groups().remove(name)?;
        let of = |version: &String| json!({"groupVersion": format!("{name}/{version}"), "version": version});
        let all: Vec<Value> = versions.iter().map(of).collect();
        Some(
            json!({"kind": "APIGroup", "apiVersion": "v1", "name": name, "preferredVersion": all[0], "versions": all}),
        )
    }

    fn list_of(&self, group: &str, version: &str) -> Answer<Value> {
        let here = |resource: &&Resource| {
            resource.group == group && resource.versions.iter().any(|known| known == version)
        };
        let resources: Vec<Value> =
            self.resources().iter().filter(here).flat_map(Resource::entries).collect();
        if resources.is_empty() {
            return Err(Failure::no_such_path());
        }
        let of = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        Ok(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": of, "resources": resources}))
    }
}
