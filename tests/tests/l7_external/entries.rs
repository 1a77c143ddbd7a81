//! ServiceEntries by resolution, address and visibility.

use std::time::Duration;

use anyhow::{Result, ensure};
use heddle_tests::mesh::Mesh;
use heddle_tests::sandbox::eventually;

use crate::world::{NOWHERE, REQUEST, ask, ask_from, bytes, logged, pod, said, site};

/// `NONE` goes where the client dials, by the name of the entry's cluster.
pub(crate) fn none(mesh: &Mesh) -> Result<()> {
    for (host, cluster) in
        [("none.example.com", "none.example.com"), ("a.none.example.com", "*.none.example.com")]
    {
        for wanted in ["abroad", "faraway"] {
            let found = site(mesh, host, 8080, &pod(mesh, wanted)?)?;
            ensure!(found == wanted, "{host}: {wanted} was dialled, {found} answers");
        }
        let name = format!("outbound|8080||{cluster}");
        let told = eventually(Duration::from_secs(5), || logged(mesh, &[&format!("{host}:8080"), &name]));
        ensure!(told.is_ok(), "the access log does not name {name}");
    }
    Ok(())
}

/// `STATIC` goes to the endpoints, whatever the client's resolver has said; a virtual address or network leads there too.
pub(crate) fn fixed(mesh: &Mesh) -> Result<()> {
    ensure!(site(mesh, "static.example.com", 80, NOWHERE)? == "abroad", "by authority");
    ensure!(site(mesh, "machines.example.com", 80, NOWHERE)? == "abroad", "by WorkloadEntry");
    for to in ["240.0.1.1:9000", "240.0.2.7:9200", "240.0.2.200:9200"] {
        let got = bytes(mesh, to, &[REQUEST])?;
        ensure!(got["text"].as_str().unwrap_or_default().contains("abroad"), "{to}: {got}");
    }
    let reply = ask(mesh, "unwritten.example.com", 9201, "240.0.2.9")?;
    ensure!(said(&reply)?["server"] == "abroad", "requests to a network: {reply:?}");
    Ok(())
}

/// Without addresses the port alone says whose an opaque connection is.
pub(crate) fn by_port(mesh: &Mesh) -> Result<()> {
    let got = bytes(mesh, &format!("{NOWHERE}:9300"), &[REQUEST])?;
    ensure!(got["text"].as_str().unwrap_or_default().contains("abroad"), "{got}");
    Ok(())
}

/// `exportTo` hides an entry from other namespaces.
pub(crate) fn hidden(mesh: &Mesh) -> Result<()> {
    let asked = ("hidden.example.com", 80, NOWHERE);
    let own = ask_from(mesh, ("trusted", "caller"), asked, &[])?;
    ensure!(said(&own)?["server"] == "abroad", "{own:?}");
    let other = ask(mesh, asked.0, asked.1, asked.2);
    ensure!(other.as_ref().map_or(true, |reply| reply.status >= 500), "{other:?}");
    let to = format!("{NOWHERE}:9310");
    let own = mesh.probe_from("trusted", "caller", &["wire", &to, REQUEST, "--patience", "8000"])?;
    ensure!(own["text"].as_str().unwrap_or_default().contains("abroad"), "{own}");
    let other = bytes(mesh, &to, &[REQUEST]);
    ensure!(other.as_ref().map_or(true, |got| got["length"] == 0), "{other:?}");
    Ok(())
}
