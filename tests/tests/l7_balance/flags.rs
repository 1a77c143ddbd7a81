//! Response flags, each read from the access log.

use anyhow::{Result, ensure};
use heddle_tests::mesh::Mesh;

use super::retries::logged;
use super::{routes, rule, service};

pub(super) fn objects() -> String {
    let mut all = service("flags", "solo", 8080);
    all += &service("flags-closed", "solo", 9);
    all += &service("flags-nobody", "nobody", 8080);
    all += &service("flags-full", "plain", 9017);
    all += &rule("flags-full.outside.svc.cluster.local", "connectionPool: {http: {http2MaxRequests: 1}}");
    let to = |path: &str, more: &str, destination: &str| {
        format!(
            "{{match: [{{uri: {{prefix: /flag-{path}}}}}], {more} route: [{{destination: {{{destination}}}}}]}}"
        )
    };
    let flags = [
        to("nc", "", "host: flags, subset: absent"),
        to("uh", "", "host: flags-nobody"),
        to("uf", "retries: {attempts: 0},", "host: flags-closed"),
        to("urx", "retries: {attempts: 1, retryOn: '503'},", "host: flags"),
        to("uc", "retries: {attempts: 0},", "host: flags"),
        to("ut", "timeout: 500ms,", "host: flags"),
        to("fi", "fault: {abort: {httpStatus: 418, percentage: {value: 100}}},", "host: flags"),
        to("di", "fault: {delay: {fixedDelay: 100ms, percentage: {value: 100}}},", "host: flags"),
        to("dc", "", "host: flags"),
        to("uo", "", "host: flags-full.outside.svc.cluster.local"),
    ];
    all + &routes("flags", &flags.join(", "))
}

pub(super) fn all(mesh: &Mesh) -> Result<()> {
    for (path, query, code, flags) in [
        ("nc", "", 503, "NC"),
        ("uh", "", 503, "UH"),
        ("uf", "", 503, "UF"),
        ("urx", "?status=503", 503, "URX"),
        ("uc", "?abort=1", 503, "UC"),
        ("ut", "?delay=5000", 504, "UT"),
        ("fi", "", 418, "FI"),
        ("di", "", 200, "DI"),
        ("nr", "", 404, "NR"),
    ] {
        let got = mesh.call(&format!("http://flags/flag-{path}{query}"), &[])?;
        ensure!(got.status == code, "{path}: {got:?}");
        logged(mesh, &format!("/flag-{path}"), &format!(" {code} {flags} "))?;
    }
    let gone = mesh.call("http://flags/flag-dc?delay=5000", &["-m", "1"]);
    ensure!(gone.is_err(), "the client goes away");
    logged(mesh, "/flag-dc", " 0 DC ")?;
    let busy =
        mesh.probe(&["requests", "http://flags/flag-uo?delay=800", "--count", "6", "--connections", "6"])?;
    ensure!(super::status(&busy, 503) >= 1, "{busy}");
    logged(mesh, "/flag-uo", " 503 UO ")
}
