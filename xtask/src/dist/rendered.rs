//! `heddle.yaml`: every manifest that `kubectl apply -k manifests` applies, in one file, for those who have no checkout.
//!
//! The kustomizations of this repository only list resources, so that following the lists is all there is to do.

use std::fs;
use std::path::Path;

use crate::failure::{During, Result};

const KUSTOMIZATION: &str = "kustomization.yaml";

/// The objects of a folder's kustomization, in its order.
pub(super) fn kustomization(folder: &Path) -> Result<String> {
    let list = folder.join(KUSTOMIZATION);
    let list = fs::read_to_string(&list).during(list.display())?;
    let mut text = String::new();
    for resource in resources(&list) {
        let path = folder.join(resource);
        let part = if path.is_dir() {
            kustomization(&path)?
        } else {
            fs::read_to_string(&path).during(path.display())?
        };
        if !text.is_empty() {
            text.push_str("---\n");
        }
        text.push_str(&part);
    }
    Ok(text)
}

/// Entries of the list at `resources:`.
fn resources(kustomization: &str) -> impl Iterator<Item = &str> {
    let after = kustomization.lines().skip_while(|line| *line != "resources:").skip(1);
    after.map_while(|line| line.trim_start().strip_prefix("- "))
}

#[cfg(test)]
mod tests {
    use super::{kustomization, resources};
    use crate::workspace::root;

    #[test]
    fn resources_are_followed_in_their_order() {
        let list = "kind: Kustomization\nresources:\n- a.yaml\n- b\nimages: []\n";
        assert_eq!(resources(list).collect::<Vec<_>>(), ["a.yaml", "b"]);
    }

    #[test]
    fn one_file_has_everything_that_runs() {
        let text = kustomization(&root().join("manifests")).ok().unwrap_or_default();
        let kinds = |kind: &str| text.lines().filter(|line| *line == format!("kind: {kind}")).count();
        assert_eq!((kinds("DaemonSet"), kinds("Deployment"), kinds("Namespace")), (1, 1, 1));
        assert!(kinds("CustomResourceDefinition") >= 17);
        assert_eq!(kinds("Kustomization"), 0);
    }
}
