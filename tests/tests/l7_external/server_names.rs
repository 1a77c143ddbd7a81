//! TLS that passes through unread, by its server name; and connections by the fields of `tcp`.

use anyhow::{Context, Result, ensure};
use heddle_tests::mesh::Mesh;

use crate::world::{NOWHERE, REQUEST, ask_from, bytes, said, virtual_address};

/// Who ends the TLS of a client that asks for a server name, and the name that it has seen.
fn tls(mesh: &Mesh, name: &str, port: u16, address: &str) -> Result<(String, String)> {
    let verify = ["--cacert", "/etc/outside/ca.crt", "--http1.1"];
    let reply = ask_from(mesh, ("default", "verifier"), (name, port, address), &verify)?;
    let told = said(&reply)?;
    let text = |key: &str| told[key].as_str().map(str::to_owned).context("no such answer");
    Ok((text("server")?, text("sni")?))
}

/// By rules and by entries, to wherever they say; the client sees the server's own certificate.
pub(crate) fn routed(mesh: &Mesh) -> Result<()> {
    for (name, wanted) in [
        ("abroad.example.com", "abroad"),
        ("a.wild.example.com", "faraway"),
        ("b.wild.example.com", "abroad"),
        ("other.wild.example.com", "faraway"),
    ] {
        let (server, sni) = tls(mesh, name, 443, NOWHERE)?;
        ensure!(server == wanted && sni == name, "{name}: {server} has seen {sni}");
    }
    Ok(())
}

/// A port that declares nothing is looked at where rules go by server names, and nobody waits for it.
pub(crate) fn undeclared(mesh: &Mesh) -> Result<()> {
    let address = virtual_address(mesh, "undeclared")?;
    for (name, wanted) in [("c.wild.example.com", "faraway"), ("api.example.com", "abroad")] {
        let (server, sni) = tls(mesh, name, 7443, &address)?;
        ensure!(server == wanted && sni == name, "{name}: {server} has seen {sni}");
    }
    // A rule by server names stands for this host too, and its server speaks first.
    let got = bytes(mesh, "inside:7000", &[])?;
    ensure!(got["length"].as_u64() > Some(0), "the server was not heard: {got}");
    Ok(())
}

/// Each field of a `tcp` match, alone.
pub(crate) fn fields(mesh: &Mesh) -> Result<()> {
    for (from, to, wanted) in [
        (("default", "client"), "240.0.6.1:9500", "abroad"),
        (("default", "client"), "240.0.6.2:9500", "faraway"),
        (("default", "client"), "240.0.6.1:9501", "faraway"),
        (("default", "aliased"), "240.0.6.1:9500", "faraway"),
        (("trusted", "caller"), "240.0.6.1:9500", "faraway"),
    ] {
        let got = mesh.probe_from(from.0, from.1, &["wire", to, REQUEST, "--patience", "8000"])?;
        let found = got["text"].as_str().unwrap_or_default();
        ensure!(found.contains(wanted), "{from:?} to {to}: {got}");
    }
    Ok(())
}
