//! AuthorizationPolicy: the tutorials as written, every field, for every way in.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use heddle_tests::mesh::Mesh;
use heddle_tests::suite::{self, Case};

/// `my-app` is the tutorial's; `ledger` is what the other policies select.
const CASES: &[Case<Mesh>] = &[
    ("tutorial_15_takes_get_and_post_from_trusted_alone_for_every_way_in", tutorial),
    ("methods_paths_and_hosts_and_their_not_forms_are_judged", requests),
    ("deny_goes_before_allow_and_empty_lists_mean_what_istio_says", precedence),
    ("l7_rules_deny_what_is_not_http", opaque),
    ("a_path_is_judged_in_the_form_in_which_it_is_forwarded", canonical),
    ("root_namespace_policies_reach_every_workload", root),
    ("tutorial_14_strict_refuses_plaintext", strict),
];

fn main() -> ExitCode {
    // One at a time: the policies of the root namespace and STRICT change everybody's world.
    suite::run(|| Mesh::up("t-l7-policy", &["plain"], &world()), 1, CASES)
}

fn world() -> String {
    let app = |app: &str, node: &str| {
        format!(
            "
---
{{apiVersion: v1, kind: Pod, metadata: {{name: {app}-{node}, labels: {{app: {app}, on: {node}}}}}, spec: {{nodeName: {node}, containers: [
  {{name: http, image: heddle-probe, args: [http-server, --version, {node}], readinessProbe: {{httpGet: {{port: 8080}}, periodSeconds: 1}}}},
  {{name: peer, image: heddle-probe, args: [peer-server]}}]}}}}"
        )
    };
    let service = |app: &str| {
        format!(
            "
---
{{apiVersion: v1, kind: Service, metadata: {{name: {app}}}, spec: {{selector: {{app: {app}}},
  ports: [{{name: http, port: 80, targetPort: 8080}}, {{name: tcp-peer, port: 7000}}]}}}}"
        )
    };
    let apps = ["my-app", "ledger"].map(|name| app(name, "node-1") + &app(name, "node-2") + &service(name));
    apps.concat() + "\n---\n" + include_str!("../../../manifests/tutorial/15-authorizationpolicy.yaml")
}

/// Every address of an application: its service, and each pod by both families.
fn ways(mesh: &Mesh, app: &str) -> Result<Vec<String>> {
    let mut urls = vec![format!("http://{app}.default")];
    for pod in mesh.sandbox.list("default", "pods")? {
        if pod["metadata"]["labels"]["app"] == app {
            for ip in pod["status"]["podIPs"].as_array().context("podIPs")? {
                let ip = ip["ip"].as_str().context("ip")?;
                let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
                urls.push(format!("http://{host}:8080"));
            }
        }
    }
    ensure!(urls.len() == 5, "{urls:?}");
    Ok(urls)
}

/// The status of a request; 0 where the connection was refused.
fn status(mesh: &Mesh, from: (&str, &str), url: &str, arguments: &[&str]) -> u16 {
    mesh.call_from(from.0, from.1, url, &[&["-m", "5"], arguments].concat()).map_or(0, |reply| reply.status)
}

const CALLER: (&str, &str) = ("trusted", "caller");
const CLIENT: (&str, &str) = ("default", "client");
const OUTSIDER: (&str, &str) = ("outside", "outsider");

/// By the connection, before there is a request: a reset; 403 where requests are seen, here or there.
const REFUSED: u16 = 0;

/// Who asks, what, how, and the status that it must get.
type Asked<'a> = ((&'a str, &'a str), &'a str, &'a [&'a str], u16);

fn expect(mesh: &Mesh, cases: &[Asked<'_>]) -> Result<()> {
    for (from, url, arguments, want) in cases {
        let got = status(mesh, *from, url, arguments);
        ensure!(
            got == *want || (*want == REFUSED && [0, 403].contains(&got)),
            "{from:?} {arguments:?} {url}: {got}, not {want}"
        );
    }
    Ok(())
}

fn tutorial(mesh: &Mesh) -> Result<()> {
    for url in ways(mesh, "my-app")? {
        expect(
            mesh,
            &[
                (CALLER, &url, &[], 200),
                (CALLER, &url, &["-d", "x"], 200),
                (CALLER, &url, &["-X", "DELETE"], 403),
                (CLIENT, &url, &[], 403),
                (OUTSIDER, &url, &[], 403),
            ],
        )?;
    }
    let denied = mesh.call("http://my-app/", &[])?;
    ensure!(denied.body.trim() == "RBAC: access denied", "{denied:?}");
    let other = mesh.call("http://ledger/", &[])?;
    ensure!(other.status == 200, "what it does not select goes on: {other:?}");
    Ok(())
}

fn policy(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {{name: {name}, namespace: {namespace}}}, spec: {spec}}}"
    )
}

const LEDGER: &str = "selector: {matchLabels: {app: ledger}}";

/// Applies a policy to `ledger`, checks, and takes it away.
fn under(mesh: &Mesh, spec: &str, cases: &[Asked<'_>]) -> Result<()> {
    mesh.apply(&policy("judged", "default", &format!("{{{LEDGER}, {spec}}}")))?;
    let done = expect(mesh, cases).with_context(|| spec.to_owned());
    mesh.delete("authorizationpolicy", "judged", "default")?;
    done
}

fn requests(mesh: &Mesh) -> Result<()> {
    let url = "http://ledger.default";
    let at = |path: &str| format!("{url}{path}");
    let (admin, public, deep, file) = (at("/admin/x"), at("/public"), at("/public/x"), at("/x.css"));
    under(
        mesh,
        "action: ALLOW, rules: [{to: [{operation: {paths: [/public, /public/*, '*.css'], methods: [GET]}}]}]",
        &[
            (CLIENT, &public, &[], 200),
            (CLIENT, &deep, &[], 200),
            (CLIENT, &file, &[], 200),
            (CLIENT, &admin, &[], 403),
            (CLIENT, &public, &["-X", "PUT"], 403),
        ],
    )?;
    under(
        mesh,
        "action: DENY, rules: [{to: [{operation: {notPaths: [/public*], notMethods: [OPTIONS]}}]}]",
        &[(CLIENT, &public, &[], 200), (CLIENT, &admin, &[], 403), (CLIENT, &admin, &["-X", "OPTIONS"], 200)],
    )?;
    under(
        mesh,
        "action: ALLOW, rules: [{to: [{operation: {hosts: [good.example.com, '*.fine.example.com']}}]}]",
        &[
            (CLIENT, url, &["-H", "host: good.example.com"], 200),
            (CLIENT, url, &["-H", "host: very.fine.example.com"], 200),
            (CLIENT, url, &["-H", "host: evil.example.com"], 403),
        ],
    )?;
    under(
        mesh,
        "action: ALLOW, rules: [{from: [{source: {principals: [cluster.local/ns/trusted/sa/default]}}], to: [{operation: {ports: ['8080']}}]}]",
        &[(CALLER, url, &[], 200), (CLIENT, url, &[], REFUSED), (OUTSIDER, url, &[], REFUSED)],
    )?;
    under(
        mesh,
        "action: DENY, rules: [{from: [{source: {notNamespaces: [trusted]}}]}]",
        &[(CALLER, url, &[], 200), (CLIENT, url, &[], REFUSED), (OUTSIDER, url, &[], REFUSED)],
    )
}

fn precedence(mesh: &Mesh) -> Result<()> {
    let url = "http://ledger.default/x";
    // An ALLOW without rules allows nothing; one with an empty rule everything; a DENY without rules denies nothing.
    let nothing = status_under(mesh, "action: ALLOW", url)?;
    ensure!([0, 403].contains(&nothing), "{nothing}");
    ensure!(status_under(mesh, "action: ALLOW, rules: [{}]", url)? == 200);
    ensure!(status_under(mesh, "action: DENY", url)? == 200);
    mesh.apply(&policy("allow", "default", &format!("{{{LEDGER}, action: ALLOW, rules: [{{}}]}}")))?;
    let denied = under(
        mesh,
        "action: DENY, rules: [{to: [{operation: {methods: [PUT]}}]}]",
        &[(CLIENT, url, &[], 200), (CLIENT, url, &["-X", "PUT"], 403)],
    );
    mesh.delete("authorizationpolicy", "allow", "default")?;
    denied
}

fn status_under(mesh: &Mesh, spec: &str, url: &str) -> Result<u16> {
    mesh.apply(&policy("judged", "default", &format!("{{{LEDGER}, {spec}}}")))?;
    let got = status(mesh, CLIENT, url, &[]);
    mesh.delete("authorizationpolicy", "judged", "default")?;
    Ok(got)
}

fn opaque(mesh: &Mesh) -> Result<()> {
    let reaches =
        || mesh.probe(&["peer-client", "ledger:7000"]).is_ok_and(|said| said["server_saw"]["ip"].is_string());
    ensure!(reaches(), "no policy");
    for (spec, through) in [
        ("action: ALLOW, rules: [{to: [{operation: {methods: [GET]}}]}]", false),
        ("action: DENY, rules: [{to: [{operation: {methods: [PUT]}}]}]", false),
        ("action: DENY, rules: [{to: [{operation: {methods: [PUT], ports: ['8080']}}]}]", true),
        ("action: ALLOW, rules: [{from: [{source: {namespaces: [default]}}]}]", true),
    ] {
        mesh.apply(&policy("judged", "default", &format!("{{{LEDGER}, {spec}}}")))?;
        let got = reaches();
        mesh.delete("authorizationpolicy", "judged", "default")?;
        ensure!(got == through, "{spec}: through is {got}");
    }
    Ok(())
}

fn canonical(mesh: &Mesh) -> Result<()> {
    under(
        mesh,
        "action: DENY, rules: [{to: [{operation: {paths: [/admin*]}}]}]",
        &[
            (CLIENT, "http://ledger.default/x/../admin", &["--path-as-is"], 403),
            (CLIENT, "http://ledger.default/%61dmin", &["--path-as-is"], 403),
            (OUTSIDER, "http://ledger.default/./admin", &["--path-as-is"], 403),
            (CLIENT, "http://ledger.default/other", &[], 200),
        ],
    )
}

fn root(mesh: &Mesh) -> Result<()> {
    mesh.apply(&policy(
        "all",
        "istio-system",
        "{action: DENY, rules: [{to: [{operation: {paths: [/forbidden]}}]}]}",
    ))?;
    let done = expect(
        mesh,
        &[
            (CLIENT, "http://ledger.default/forbidden", &[], 403),
            (CLIENT, "http://plain.default/forbidden", &[], 403),
            (CLIENT, "http://plain.default/", &[], 200),
        ],
    );
    mesh.delete("authorizationpolicy", "all", "istio-system")?;
    done
}

fn strict(mesh: &Mesh) -> Result<()> {
    mesh.apply(include_str!("../../../manifests/tutorial/14-peerauthentication-strict.yaml"))?;
    for url in ways(mesh, "ledger")? {
        expect(mesh, &[(CLIENT, &url, &[], 200), (CALLER, &url, &[], 200), (OUTSIDER, &url, &[], REFUSED)])?;
    }
    expect(mesh, &[(CALLER, "http://my-app.default", &[], 200), (CLIENT, "http://my-app.default", &[], 403)])
}
