//! Paths, headers, query parameters and methods, alone and together; which of several matches counts.

use anyhow::Result;
use heddle_tests::mesh::Mesh;

use crate::seen::get;

/// Target, arguments, who answers; nobody: 404.
type Row = (&'static str, &'static str, &'static str);

fn rows(mesh: &Mesh, host: &str, rows: &[Row]) -> Result<()> {
    for (path, arguments, version) in rows {
        let seen = get(mesh, &format!("http://{host}{path}"), arguments)?;
        match *version {
            "404" => seen.status(404)?,
            version => seen.status(200)?.by(version)?,
        };
    }
    Ok(())
}

pub(crate) fn paths_and_headers(mesh: &Mesh) -> Result<()> {
    rows(
        mesh,
        "matching",
        &[
            ("/", "", "v1"),
            ("/example", "", "v1"),
            ("/", "-H version:one", "v1"),
            ("/v2", "", "v2"),
            ("/v2/", "", "v2"),
            ("/v2/example", "", "v2"),
            ("/v2?q=1", "", "v2"),
            ("/", "-H version:two", "v2"),
            ("/v2example", "", "v1"),
            ("/foo/v2/example", "", "v1"),
            ("/exact", "", "v3"),
            ("/exact", "-H version:two", "v3"),
            ("/exact/", "", "v1"),
        ],
    )
}

pub(crate) fn headers(mesh: &Mesh) -> Result<()> {
    rows(
        mesh,
        "headed",
        &[
            ("/", "-H version:one", "v1"),
            ("/", "-H version:two", "v2"),
            ("/", "-H version:two -H color:orange", "v3"),
            ("/", "-H VERSION:two -H COLOR:blue", "v2"),
            ("/", "-H color:blue", "v1"),
            ("/", "-H color:green", "v1"),
            ("/", "-H color:orange", "404"),
            ("/", "-H color:Blue", "404"),
            ("/", "-H other:one", "404"),
        ],
    )
}

pub(crate) fn query_parameters(mesh: &Mesh) -> Result<()> {
    rows(
        mesh,
        "asked",
        &[
            ("/?animal=whale", "", "v1"),
            ("/?animal=whale&otherparam=irrelevant", "", "v1"),
            ("/?animal=whale", "-H version:one", "v2"),
            ("/path1?animal=whale", "", "v3"),
            ("/path3?animal=shark", "", "v1"),
            ("/path4?animal=kraken", "-H version:three", "v1"),
            ("/path4?animal=kraken", "", "404"),
            ("/?animal=shark", "", "404"),
            ("/?animal=dog", "", "404"),
            ("/?Animal=whale", "", "404"),
            ("/", "", "404"),
            ("/path5?animal=hydra", "", "v1"),
        ],
    )
}

pub(crate) fn methods(mesh: &Mesh) -> Result<()> {
    rows(
        mesh,
        "methods",
        &[
            ("/", "-X POST", "v1"),
            ("/", "", "v2"),
            ("/", "-X HEAD -I", "404"),
            ("/path1", "", "v1"),
            ("/", "-X PUT -H version:one", "v2"),
            ("/", "-X PUT", "404"),
            ("/path5", "-X PATCH", "v1"),
            ("/", "-X PATCH -H version:four", "v2"),
            ("/", "-X DELETE -H version:four", "v3"),
        ],
    )
}

pub(crate) fn order(mesh: &Mesh) -> Result<()> {
    rows(
        mesh,
        "order",
        &[
            ("/match/exact/one", "", "v3"),
            ("/match/exact", "", "v2"),
            ("/match", "", "v1"),
            ("/match/prefix/one/any", "", "v2"),
            ("/match/prefix/any", "", "v1"),
            ("/match/any", "", "v3"),
        ],
    )?;
    // Of equal matches of two routes that of the older route counts.
    rows(
        mesh,
        "across",
        &[
            ("/", "", "v1"),
            ("/example", "-H version:one", "v1"),
            ("/v2", "", "v2"),
            ("/v2/example", "-H version:one", "v2"),
            ("/", "-H version:two", "v2"),
        ],
    )
}

pub(crate) fn expressions(mesh: &Mesh) -> Result<()> {
    rows(
        mesh,
        "patterns",
        &[
            ("/items/17", "", "v1"),
            ("/items/17/x", "", "404"),
            ("/items/x", "", "404"),
            ("/", "-A Mozilla(Mobile)5", "v2"),
            ("/?lang=fr", "", "v3"),
            ("/?lang=french", "", "404"),
        ],
    )
}
