//! Header modifiers, rewrites and redirects, of rules and of backends.

use anyhow::{Result, ensure};
use heddle_tests::mesh::Mesh;

use crate::seen::get;

pub(crate) fn headers(mesh: &Mesh) -> Result<()> {
    for host in ["changed", "changed-backend"] {
        let call = |path: &str, arguments: &str| get(mesh, &format!("http://{host}{path}"), arguments);
        call("/set", "-H other:val")?
            .by("v1")?
            .sent("x-header-set", "set-overwrites-values")?
            .sent("other", "val")?;
        call("/set", "-H X-Header-Set:else")?.sent("x-header-set", "set-overwrites-values")?;
        call("/add", "")?.sent("x-header-add", "add-appends-values")?;
        call("/add", "-H x-header-add:else")?.sent("x-header-add", "else,add-appends-values")?;
        call("/remove", "-H x-header-remove:val")?.status(200)?.sent("x-header-remove", "-")?;
        call("/multiple", "-H x-set-2:0 -H x-add-2:0 -H x-remove-1:0 -H X-REMOVE-2:0 -H other:0")?
            .sent("x-set-1", "one")?
            .sent("x-set-2", "two")?
            .sent("x-add-1", "one")?
            .sent("x-add-2", "0,two")?
            .sent("x-remove-1", "-")?
            .sent("x-remove-2", "-")?
            .sent("other", "0")?
            .got("x-upstream", "set")?
            .got("x-version", "v1,added")?
            .got("content-type", "-")?;
    }
    Ok(())
}

pub(crate) fn of_each_backend(mesh: &Mesh) -> Result<()> {
    let mut answered = [0, 0, 0];
    for _ in 0..60 {
        let seen = get(mesh, "http://changed-each/", "")?;
        let version = seen.reply().header("x-version").unwrap_or_default();
        answered[usize::from(version.as_bytes()[1] - b'1')] += 1;
        seen.sent("backend", &version)?;
    }
    // Two halves of 60: less than 10 of one come once in ten million times.
    ensure!(answered[0] > 9 && answered[1] > 9 && answered[2] == 0, "{answered:?}");
    Ok(())
}

pub(crate) fn rewrites(mesh: &Mesh) -> Result<()> {
    for (from, to) in [
        ("/prefix/one/two", "/one/two"),
        ("/prefix/one", "/one"),
        ("/prefix/one/", "/one/"),
        ("/prefix/one?a=b", "/one?a=b"),
        ("/strip-prefix/three", "/three"),
        ("/strip-prefix", "/"),
        ("/strip-prefix/", "/"),
        ("/full/one/two", "/one"),
        ("/full/one?a=b", "/one?a=b"),
    ] {
        get(mesh, &format!("http://rewritten{from}"), "")?.by("v1")?.path(to)?.host("rewritten")?;
    }
    get(mesh, "http://rewritten/host", "-H x-add:1 -H x-remove:1")?
        .by("v2")?
        .path("/host")?
        .host("one.example.org")?
        .sent("x-add", "1,2")?
        .sent("x-remove", "-")?;
    get(mesh, "http://rewritten/both/x?q", "")?.host("example.org")?.path("/full?q")?;
    get(mesh, "http://changed-backend/full/original", "")?.path("/rewritten-full")?;
    get(mesh, "http://changed-backend/prefix/original", "")?
        .path("/rewritten-prefix/original")?
        .host("of.backend")?;
    Ok(())
}

pub(crate) fn redirects(mesh: &Mesh) -> Result<()> {
    for (from, status, location) in [
        ("redirected/host", 302, "http://example.org/host"),
        ("redirected/host/x?q=1", 302, "http://example.org/host/x?q=1"),
        ("redirected/host-301", 301, "http://example.org/host-301"),
        ("redirected/scheme", 302, "https://redirected/scheme"),
        ("redirected:8082/scheme", 302, "https://redirected/scheme"),
        ("redirected/scheme-host", 302, "https://example.org/scheme-host"),
        ("redirected/port", 302, "http://redirected:8083/port"),
        ("redirected/port-host", 302, "http://example.org:8083/port-host"),
        ("redirected/port-80", 302, "http://example.org/port-80"),
        ("redirected:8082/host", 302, "http://example.org:8082/host"),
        ("redirected/https-443", 302, "https://redirected/https-443"),
        ("redirected/https-8443", 302, "https://redirected:8443/https-8443"),
        ("redirected/prefix", 302, "http://redirected/new"),
        ("redirected/prefix/lemon?a", 302, "http://redirected/new/lemon?a"),
        ("redirected/full/path/original", 301, "http://redirected/all"),
        ("redirected/path-host/x", 302, "http://example.org/new/x"),
        ("redirected/303", 303, "http://example.org/303"),
        ("redirected/307", 307, "http://example.org/307"),
        ("redirected/308", 308, "http://example.org/308"),
        ("changed-backend/moved/x", 302, "http://changed-backend/there/x"),
    ] {
        get(mesh, &format!("http://{from}"), "")?.status(status)?.got("location", location)?;
    }
    Ok(())
}
