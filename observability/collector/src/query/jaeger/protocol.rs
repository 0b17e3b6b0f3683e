//! Messages and services of Jaeger's gRPC interfaces, generated from the files in `proto/`.
//!
//! The names and the numbers of fields are those of Jaeger. The generated code is committed, so that a build needs no
//! generator; `tests/collector/generated_code.rs` compares and renews it.

mod chunk;

pub(super) use chunk::Chunk;

/// Descriptors of all files and of those that they import, for reflection.
pub(super) static DESCRIPTORS: &[u8] = include_bytes!("protocol/generated/descriptors.bin");

/// Jaeger's own model of traces, and the services that use it.
#[allow(clippy::all, clippy::pedantic, dead_code, unreachable_pub, reason = "generated")]
pub(super) mod api_v2 {
    include!("protocol/generated/jaeger.api_v2.rs");
}

/// The services that use OTLP's model of traces.
#[allow(clippy::all, clippy::pedantic, dead_code, unreachable_pub, reason = "generated")]
pub(super) mod api_v3 {
    include!("protocol/generated/jaeger.api_v3.rs");
}

/// The services of a storage.
#[allow(clippy::all, clippy::pedantic, dead_code, unreachable_pub, reason = "generated")]
pub(super) mod storage {
    include!("protocol/generated/jaeger.storage.v2.rs");
}
