//! The world of these tests: the mesh's, two sites outside it, and the Secrets that clients use towards them.

use anyhow::{Context, Result, ensure};
use heddle_tests::mesh::{Mesh, Reply};
use serde_json::{Value, json};

use crate::certificates::Authority;

/// Where names of ServiceEntries without an address of their own seem to be: nobody is there.
pub(crate) const NOWHERE: &str = "198.51.100.7";

const SITES: [&str; 2] = ["abroad", "faraway"];

/// Brings it up.
pub(crate) fn up() -> Result<Mesh> {
    let (ours, others) = (Authority::new("ours")?, Authority::new("others")?);
    let mut manifests = Vec::new();
    for site in SITES {
        manifests.push(pem(&ours, &others, site)?);
        manifests.push(include_str!("sites.yaml").replace("SITE", site));
    }
    let client = ours.sign(&["client.default"], false)?;
    let secret = |namespace: &str, name: &str, data: Value| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "stringData": data})
            .to_string()
    };
    let (ca, strangers) = (ours.root(), others.root());
    manifests.extend([
        secret("default", "roots", json!({"ca.crt": ca})),
        secret("default", "other-roots", json!({"ca.crt": strangers})),
        secret("default", "identity", json!({"ca.crt": ca, "tls.crt": client.chain, "tls.key": client.key})),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "roots"}, "data": {"ca.crt": ca}}).to_string(),
    ]);
    manifests.extend([
        include_str!("clients.yaml").to_owned(),
        include_str!("names.yaml").to_owned(),
        include_str!("entries.yaml").to_owned(),
        crate::origination::manifests(),
        include_str!("server_names.yaml").to_owned(),
    ]);
    Mesh::up("t-l7-ext", &["inside"], &manifests.join("\n---\n"))
}

/// The files of a site.
fn pem(ours: &Authority, others: &Authority, site: &str) -> Result<String> {
    let good =
        ours.sign(&["api.example.com", "*.wild.example.com", &format!("{site}.example.com")], false)?;
    let expired = ours.sign(&["api.example.com"], true)?;
    let stranger = others.sign(&["api.example.com"], false)?;
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": site, "namespace": "outside"},
        "data": {
            "nginx.conf": include_str!("nginx.conf").replace("SITE", site), "ca.crt": ours.root(),
            "good.crt": good.chain, "good.key": good.key,
            "expired.crt": expired.chain, "expired.key": expired.key,
            "stranger.crt": stranger.chain, "stranger.key": stranger.key,
        },
    });
    Ok(object.to_string())
}

/// A request of `default/client` to a host that its resolver would find at an address.
pub(crate) fn ask(mesh: &Mesh, host: &str, port: u16, address: &str) -> Result<Reply> {
    ask_from(mesh, ("default", "client"), (host, port, address), &[])
}

/// The same from any pod, with more arguments for curl.
pub(crate) fn ask_from(
    mesh: &Mesh,
    (namespace, pod): (&str, &str),
    (host, port, address): (&str, u16, &str),
    more: &[&str],
) -> Result<Reply> {
    let resolved = format!("{host}:{port}:{address}");
    let scheme = if more.contains(&"--cacert") { "https" } else { "http" };
    let arguments = [&["--resolve", resolved.as_str()], more].concat();
    mesh.call_from(namespace, pod, &format!("{scheme}://{host}:{port}/"), &arguments)
}

/// What a site has said.
pub(crate) fn said(reply: &Reply) -> Result<Value> {
    ensure!(reply.status == 200, "{reply:?}");
    reply.json()
}

/// `ask`, and the site that has answered.
pub(crate) fn site(mesh: &Mesh, host: &str, port: u16, address: &str) -> Result<String> {
    let reply = ask(mesh, host, port, address)?;
    Ok(said(&reply)?["server"].as_str().context("server")?.to_owned())
}

/// An address of a site's pod.
pub(crate) fn pod(mesh: &Mesh, site: &str) -> Result<String> {
    mesh.sandbox.pod_addresses("outside", site)?.into_iter().next().context("no address")
}

/// The virtual address of a service.
pub(crate) fn virtual_address(mesh: &Mesh, name: &str) -> Result<String> {
    let services = mesh.sandbox.list("outside", "services")?;
    let service = services.into_iter().find(|service| service["metadata"]["name"] == name);
    let ip = service.context("no such service")?["spec"]["clusterIP"].as_str().map(str::to_owned);
    ip.context("clusterIP")
}

/// Bytes that nobody looks into: a request, as the other end sees it; what came back, and how it ended.
pub(crate) fn bytes(mesh: &Mesh, to: &str, send: &[&str]) -> Result<Value> {
    let argv = [&["wire", to], send, &["--patience", "8000"]].concat();
    mesh.probe(&argv)
}

/// A request for [`bytes`].
pub(crate) const REQUEST: &str = "GET / HTTP/1.0\\r\\nhost: raw.example.com\\r\\n\\r\\n";

/// Whether a line of the client's node says all of this.
pub(crate) fn logged(mesh: &Mesh, words: &[&str]) -> Result<bool> {
    let lines = mesh.access_log("node-1", words[0])?;
    Ok(lines.iter().any(|line| words.iter().all(|word| line.contains(word))))
}
