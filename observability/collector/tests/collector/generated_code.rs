//! The code generated from the files in `proto/`, which is committed so that a build needs no generator.
//!
//! After a change, the test writes the new files into the target folder and prints the command that copies them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use protox::file::{ChainFileResolver, DescriptorSetFileResolver, GoogleFileResolver, IncludeFileResolver};
use protox::prost_reflect::prost_types::FileDescriptorSet;

const FILES: [&str; 7] = [
    "api_v2/model.proto",
    "api_v2/query.proto",
    "api_v3/query_service.proto",
    "storage/v2/trace_storage.proto",
    "storage/v2/dependency_storage.proto",
    "storage/v2/capabilities.proto",
    "opentelemetry/proto/collector/trace/v1/trace_service.proto",
];

/// Descriptors of the files and of all that they import.
const DESCRIPTORS: &str = "src/query/jaeger/protocol/generated/descriptors.bin";

fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// Messages that the server replaces by one of another service. Their fields are those of the other message or fewer, with the
/// same numbers and types, so that the encoding is the same.
const SHARED_MESSAGES: [(&str, &str); 12] = [
    (".jaeger.api_v2.GetDependenciesRequest", "api_v3::GetDependenciesRequest"),
    (".jaeger.api_v2.GetOperationsRequest", "api_v3::GetOperationsRequest"),
    (".jaeger.api_v2.GetServicesResponse", "api_v3::GetServicesResponse"),
    (".jaeger.api_v2.Operation", "api_v3::Operation"),
    (".jaeger.api_v2.TraceQueryParameters", "api_v3::TraceQueryParameters"),
    (".jaeger.api_v3.DependenciesResponse", "api_v2::GetDependenciesResponse"),
    (".jaeger.storage.v2.GetDependenciesRequest", "api_v3::GetDependenciesRequest"),
    (".jaeger.storage.v2.GetDependenciesResponse", "api_v2::GetDependenciesResponse"),
    (".jaeger.storage.v2.GetOperationsRequest", "api_v3::GetOperationsRequest"),
    (".jaeger.storage.v2.GetOperationsResponse", "api_v3::GetOperationsResponse"),
    (".jaeger.storage.v2.GetServicesResponse", "api_v3::GetServicesResponse"),
    (".jaeger.storage.v2.ServiceSummary", "api_v3::ServiceSummary"),
];

/// Returns all generated files by their paths.
fn generated() -> BTreeMap<String, Vec<u8>> {
    let mut resolver = ChainFileResolver::new();
    resolver.add(IncludeFileResolver::new(path("proto")));
    resolver.add(GoogleFileResolver::new());
    // OTLP's own files are not part of this repository; their descriptors are.
    let committed = fs::read(path(DESCRIPTORS)).unwrap_or_default();
    resolver.add(DescriptorSetFileResolver::decode(committed.as_slice()).unwrap());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_files(FILES).unwrap();
    let set = compiler.file_descriptor_set();

    // Messages of streams are encoded where traces are read, one by one.
    let server = tonic_prost_build::configure()
        .build_client(false)
        .extern_path(".opentelemetry.proto.trace.v1.TracesData", "crate::query::jaeger::protocol::Chunk")
        .extern_path(".jaeger.api_v2.SpansResponseChunk", "crate::query::jaeger::protocol::Chunk")
        .extern_path(".jaeger.api_v3.FindTraceSummariesResponse", "crate::query::jaeger::protocol::Chunk")
        .extern_path(".jaeger.storage.v2.FindTraceSummariesResponse", "crate::query::jaeger::protocol::Chunk")
        // The same message as OTLP's.
        .extern_path(".jaeger.storage.v2.KeyValue", "::opentelemetry_proto::tonic::common::v1::KeyValue");
    let server = SHARED_MESSAGES.into_iter().fold(server, |server, (message, shared)| {
        server.extern_path(message, format!("crate::query::jaeger::protocol::{shared}"))
    });
    let client = tonic_prost_build::configure().build_server(false);
    let mut files = BTreeMap::from([(DESCRIPTORS.to_owned(), compiler.encode_file_descriptor_set())]);
    files.extend(rust("src/query/jaeger/protocol/generated", server, &set));
    files.extend(rust("tests/collector/generated", client, &set));
    files
}

fn rust(
    folder: &str,
    builder: tonic_prost_build::Builder,
    set: &FileDescriptorSet,
) -> BTreeMap<String, Vec<u8>> {
    let out = tempfile::tempdir().unwrap();
    builder
        .build_transport(false)
        .extern_path(".opentelemetry.proto", "::opentelemetry_proto::tonic")
        // Only whether there is one matters.
        .extern_path(".jaeger.expression.v1.Call", "()")
        .out_dir(out.path())
        .compile_fds(set.clone())
        .unwrap();
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(out.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("jaeger.") && name != "jaeger.expression.v1.rs" {
            files.insert(format!("{folder}/{name}"), fs::read(&path).unwrap());
        }
    }
    files
}

#[test]
fn the_generated_code_is_that_of_the_proto_files() {
    let generated = generated();
    assert!(generated.len() >= 7, "{:?}", generated.keys());
    let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join("generated");
    let mut differing = Vec::new();
    for (file, content) in generated {
        if fs::read(path(&file)).is_ok_and(|committed| committed == content) {
            continue;
        }
        let copy = new.join(&file);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::write(copy, content).unwrap();
        differing.push(file);
    }
    let (from, to) = (new.display(), env!("CARGO_MANIFEST_DIR"));
    assert!(differing.is_empty(), "{differing:?} are out of date: run `cp -r {from}/. {to}`");
}
