//! Compiles the proto files with protox, so that nobody needs protoc.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=cri");
    let descriptors = protox::compile(["runtime_v1.proto"], ["cri"])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
