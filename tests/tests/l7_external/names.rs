//! `resolution: DNS` and `DNS_ROUND_ROBIN`: whatever the client's pod could resolve, and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use heddle_tests::mesh::Mesh;
use heddle_tests::sandbox::eventually;

use crate::world::{NOWHERE, REQUEST, ask, ask_from, bytes, logged, said, site};

/// Of the registry, and of the cluster's DNS.
pub(crate) fn cluster(mesh: &Mesh) -> Result<()> {
    for (host, wanted) in [
        ("registered.example.com", "abroad"),
        ("headless.example.com", "abroad"),
        ("searched.example.com", "faraway"),
        ("logical.example.com", "abroad"),
    ] {
        let found = site(mesh, host, 80, NOWHERE)?;
        ensure!(found == wanted, "{host}: {found} answers");
    }
    let mut sites = BTreeSet::new();
    for _ in 0..40 {
        sites.insert(site(mesh, "both.example.com", 80, NOWHERE)?);
    }
    ensure!(sites.len() == 2, "both names are endpoints: {sites:?}");
    let text = bytes(mesh, "240.0.9.1:9100", &[REQUEST])?;
    ensure!(text["text"].as_str().unwrap_or_default().contains("faraway"), "opaque: {text}");
    Ok(())
}

/// Of the pod's `/etc/hosts`, which is its own alone.
pub(crate) fn hosts(mesh: &Mesh) -> Result<()> {
    let asked = ("aliased.example.com", 80, NOWHERE);
    let own = ask_from(mesh, ("default", "aliased"), asked, &[])?;
    ensure!(said(&own)?["server"] == "abroad", "{own:?}");
    let other = ask(mesh, asked.0, asked.1, asked.2)?;
    ensure!(other.status == 503, "another pod knows no such name: {other:?}");
    Ok(())
}

/// A name that nobody knows is answered, not waited for.
pub(crate) fn nobody(mesh: &Mesh) -> Result<()> {
    let reply = ask(mesh, "nobody.example.com", 80, NOWHERE)?;
    ensure!(reply.status == 503 && reply.seconds < 12.0, "{reply:?}");
    let told = eventually(Duration::from_secs(5), || logged(mesh, &["nobody.example.com", " 503 UH "]));
    ensure!(told.is_ok(), "no 503 UH in the access log");
    Ok(())
}

/// Inside the mesh the pods behind a service are reached through the tunnel.
pub(crate) fn within(mesh: &Mesh) -> Result<()> {
    let reply = ask(mesh, "within.example.com", 80, NOWHERE)?;
    let told = said(&reply)?["headers"]["x-forwarded-client-cert"].to_string();
    ensure!(told.contains("spiffe://"), "{reply:?}");
    Ok(())
}

/// An answer that changes is followed, and nobody fails meanwhile.
pub(crate) fn moving(mesh: &Mesh) -> Result<()> {
    ensure!(site(mesh, "moving.example.com", 80, NOWHERE)? == "abroad", "before");
    mesh.apply("{apiVersion: v1, kind: Service, metadata: {name: moving, namespace: outside}, spec: {clusterIP: None, selector: {app: faraway}, ports: [{name: http, port: 8080}]}}")?;
    eventually(Duration::from_secs(60), || Ok(site(mesh, "moving.example.com", 80, NOWHERE)? == "faraway"))?;
    Ok(())
}
