//! Compiles the proto files with protox, so that nobody needs protoc.

use std::error::Error;

const FILES: [(&str, &str); 3] = [
    ("cri", "runtime_v1.proto"),
    ("kubelet", "pod_resources_v1.proto"),
    ("kubelet", "device_plugin_v1beta1.proto"),
];

fn main() -> Result<(), Box<dyn Error>> {
    for (dir, file) in FILES {
        println!("cargo:rerun-if-changed={dir}");
        let descriptors = protox::compile([file], [dir])?;
        tonic_prost_build::configure().compile_fds(descriptors)?;
    }
    Ok(())
}
