//! Generates the Workload API's server from proto/ (protox: no protoc is needed).

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["workload.proto"], ["proto"])?;
    // The client is the `spiffe` crate's.
    tonic_prost_build::configure().build_client(false).build_transport(false).compile_fds(files)?;
    Ok(())
}
