//! `heddle.v1.Mesh`.

use heddle_core::identity::Identity;
use heddle_core::policy::Cidr;
use heddle_core::store::{MeshFacts, MeshTraffic};
use heddle_proto::heddle::v1::Mesh;

use super::Change;
use crate::tls::TrustBundle;

pub(super) fn decode(mesh: Mesh) -> Result<Change, String> {
    // The grammar of a trust domain is that of the identities in it.
    Identity::new(&mesh.trust_domain, "any", "any")
        .map_err(|error| format!("trust domain '{}': {error}", mesh.trust_domain))?;
    let ranges = mesh.pod_cidrs.iter().chain(&mesh.service_cidrs);
    let cluster_ranges = ranges
        .map(|text| {
            Cidr::parse(text).ok_or_else(|| format!("'{text}' is not a network such as 10.244.0.0/16"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let facts = MeshFacts {
        trust_domain: mesh.trust_domain,
        cluster_domain: mesh.cluster_domain,
        cluster_ranges,
        registry_only: mesh.registry_only,
        traffic: traffic(&mesh.traffic)?,
        enrolled_namespaces: sorted(mesh.enrolled_namespaces),
    };
    Ok(Change::Mesh(facts, roots(&mesh.trust_bundle)?))
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names
}

fn traffic(json: &[u8]) -> Result<MeshTraffic, String> {
    if json.is_empty() {
        return Ok(MeshTraffic::default());
    }
    serde_json::from_slice(json).map_err(|error| format!("its traffic settings cannot be read: {error}"))
}

/// An empty bundle would trust nobody, which is never meant.
fn roots(bundle: &[String]) -> Result<TrustBundle, String> {
    TrustBundle::from_pem(bundle.join("\n").as_bytes()).map_err(|error| format!("its trust bundle: {error}"))
}
