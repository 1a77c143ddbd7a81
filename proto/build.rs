//! Compiles the contracts with a pure-Rust compiler, so that no protoc is needed.
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let files = [
        "envoy/discovery.proto",
        "istio/workload.proto",
        "istio/authorization.proto",
        "istio/ca.proto",
        "heddle/v1.proto",
    ];
    let descriptors = protox::compile(files, ["proto"])?;
    // Versions are hashes of encoded resources, so their maps are encoded in one order.
    let hashed = [
        ".istio.workload.Workload.services",
        ".heddle.v1.LocalWorkload.port_mtls_modes",
        ".heddle.v1.LocalWorkload.labels",
        ".heddle.v1.WorkloadExtension.labels",
    ];
    let mut build = tonic_prost_build::configure().bytes(".google.protobuf.Any");
    for field in hashed {
        build = build.btree_map(field);
    }
    build.compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=proto");
    Ok(())
}
