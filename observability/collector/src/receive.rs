//! OTLP in: gRPC and HTTP, protobuf and JSON, gzip or not.

mod admission;
mod admit;
pub(crate) mod grpc;
pub(crate) mod http;

pub(crate) use admission::Room;

#[cfg(test)]
mod tests;
