//! Receives OTLP over gRPC and HTTP, in protobuf and JSON, plain or compressed.

mod admission;
mod signal;
mod refusal;
mod encoding;
mod items;
mod reply;
mod discards;
mod receiver;
pub(crate) mod grpc;
pub(crate) mod http;

pub use http::CorsOrigin;
pub(crate) use receiver::Receiver;

#[cfg(test)]
mod tests;
