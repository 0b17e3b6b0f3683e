//! Receives OTLP over gRPC and HTTP, in protobuf and JSON, plain or compressed with gzip.

mod admission;
mod accept;
pub(crate) mod grpc;
pub(crate) mod http;

pub(crate) use admission::MemoryBudget;

#[cfg(test)]
mod tests;
