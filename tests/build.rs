//! Compiles the contract of the gRPC programs with a pure-Rust compiler, so that no protoc is needed.
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    tonic_prost_build::configure().compile_fds(protox::compile(["echo.proto"], ["proto"])?)?;
    println!("cargo:rerun-if-changed=proto");
    Ok(())
}
