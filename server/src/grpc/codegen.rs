//! Keeps the committed messages and descriptors equal to what the .proto files say; no build runs a compiler for them.

use std::path::{Path, PathBuf};

use prost_types::FileDescriptorSet;
use protox::prost::Message;

fn crate_path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The Rust code and the encoded descriptors of the .proto files.
fn generate() -> (String, Vec<u8>) {
    let mut compiler =
        protox::Compiler::new([crate_path("proto"), crate_path("../models/proto")]).unwrap();
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_file("grpc_service.proto")
        .unwrap();
    let descriptors: FileDescriptorSet = compiler.file_descriptor_set();
    let out = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .out_dir(out.path())
        .bytes(".")
        .btree_map(".")
        .codec_path("crate::grpc::codec::BoundedCodec")
        .compile_fds(descriptors.clone())
        .unwrap();
    let code = std::fs::read_to_string(out.path().join("inference.rs")).unwrap();
    let mut bare = descriptors;
    for file in &mut bare.file {
        file.source_code_info = None;
    }
    (code, bare.encode_to_vec())
}

const ADVICE: &str = "run `cargo test -p server --lib -- --ignored write_generated_code`";

#[test]
fn committed_code_is_what_the_proto_files_say() {
    let (code, descriptors) = generate();
    assert!(
        std::fs::read_to_string(crate_path("src/grpc/inference.rs")).unwrap() == code,
        "{ADVICE}"
    );
    assert!(std::fs::read(crate_path("proto/inference.bin")).unwrap() == descriptors, "{ADVICE}");
}

#[test]
#[ignore = "writes into the source tree: for use after a .proto file was changed"]
fn write_generated_code() {
    let (code, descriptors) = generate();
    std::fs::write(crate_path("src/grpc/inference.rs"), code).unwrap();
    std::fs::write(crate_path("proto/inference.bin"), descriptors).unwrap();
}
