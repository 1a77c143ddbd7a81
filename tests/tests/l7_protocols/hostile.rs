//! What no well-behaved peer sends.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use heddle_tests::mesh::Mesh;

pub(crate) fn malformed(mesh: &Mesh) -> Result<()> {
    let cases = [
        (
            "two lengths",
            r"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        ),
        (
            "length and chunks",
            r"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "two codings",
            r"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: gzip, chunked, chunked\r\n\r\n0\r\n\r\n",
        ),
        ("a space before the colon", r"GET / HTTP/1.1\r\nhost : web\r\n\r\n"),
        ("a folded header", r"GET / HTTP/1.1\r\nhost: web\r\nx-a: 1\r\n  2\r\n\r\n"),
        ("no host", r"GET / HTTP/1.1\r\nx-a: 1\r\n\r\n"),
        ("two hosts", r"GET / HTTP/1.1\r\nhost: web\r\nhost: other\r\n\r\n"),
        ("a NUL in a header", r"GET / HTTP/1.1\r\nhost: web\r\nx-a: \0\r\n\r\n"),
        ("a bad length", r"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: +3\r\n\r\nabc"),
        (
            "a chunk without a size",
            r"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n",
        ),
        ("a NUL in the path", r"GET /%00 HTTP/1.1\r\nhost: web\r\n\r\n"),
    ];
    for (name, bytes) in cases {
        let said = mesh.probe(&["wire", "web:80", bytes])?;
        let text = said["text"].as_str().unwrap_or_default();
        ensure!(text.starts_with("HTTP/1.1 400") || said["length"] == 0, "{name}: {said}");
        if name != "a NUL in the path" {
            ensure!(said["end"] != "open", "{name}: the connection stays open: {said}");
        }
    }
    Ok(())
}

pub(crate) fn floods(mesh: &Mesh) -> Result<()> {
    let before = mesh.agent_rss("node-1")?;
    for (kind, connections) in [
        ("rapid-reset", "4"),
        ("continuation", "4"),
        ("settings", "4"),
        ("ping", "4"),
        ("hpack-bomb", "4"),
        ("headers", "8"),
        ("line", "8"),
        ("unread", "20"),
        ("slow", "100"),
    ] {
        let port = if ["headers", "line", "unread", "slow"].contains(&kind) { "web:80" } else { "web:8082" };
        let argv = ["hostile", port, "--kind", kind, "--connections", connections, "--seconds", "1"];
        let said = mesh.probe(&argv)?;
        let grown = mesh.agent_rss("node-1")?.saturating_sub(before);
        ensure!(grown < 64 << 10, "{kind}: the agent grew by {grown} KiB: {said}");
        let ends = said["connections"].as_array().context("connections")?;
        if ["rapid-reset", "continuation", "hpack-bomb", "headers", "line"].contains(&kind) {
            let closed = ends.iter().all(|each| each["end"] != "open");
            ensure!(closed, "{kind}: a connection outlives it: {said}");
        }
        // Others are served meanwhile.
        let other = mesh.call("http://web/", &["-m", "5"])?;
        ensure!(other.status == 200, "after {kind}: {other:?}");
    }
    std::thread::sleep(Duration::from_secs(2));
    let kept = mesh.agent_rss("node-1")?.saturating_sub(before);
    ensure!(kept < 48 << 10, "{kept} KiB stay behind");
    Ok(())
}
