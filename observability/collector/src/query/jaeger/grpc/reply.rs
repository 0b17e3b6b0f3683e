//! Replies: computed with the permits of the HTTP API, and streamed no faster than the client reads.

use std::pin::Pin;
use std::sync::Arc;

use axum::http::StatusCode;
use futures::stream::{Stream, StreamExt as _};
use tokio::sync::Semaphore;
use tonic::{Code, Response, Status};

use super::chunks::{ListWriter, Model, write_traces};
use super::parameters;
use crate::ingest::Ingest;
use crate::query::jaeger::adjust::Adjuster;
use crate::query::jaeger::error::ApiError;
use crate::query::jaeger::protocol::Chunk;
use crate::query::jaeger::protocol::api_v2::{DependencyLink, GetDependenciesResponse};
use crate::query::jaeger::protocol::api_v3::{
    GetDependenciesRequest, GetOperationsRequest, GetOperationsResponse, GetServicesResponse, Operation,
    ServiceSummary,
};
use crate::query::jaeger::protocol::storage::TraceSummary;
use crate::query::jaeger::respond::{self, LOOKUP_PERMITS, SEARCH_PERMITS, stored_trace};
use crate::query::jaeger::search::Search;
use crate::query::jaeger::v1::TRACE_NOT_FOUND;
use crate::query::jaeger::v3;
use crate::query::streaming::{self, ChunkWriter};
use crate::trace::TraceId;

/// The messages of a stream.
pub(super) type Chunks = Pin<Box<dyn Stream<Item = Result<Chunk, Status>> + Send>>;

pub(super) type StreamReply = Result<Response<Chunks>, Status>;

impl From<ApiError> for Status {
    fn from(ApiError { status, message }: ApiError) -> Self {
        let code = match status {
            StatusCode::BAD_REQUEST => Code::InvalidArgument,
            StatusCode::NOT_FOUND => Code::NotFound,
            StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
            _ => Code::Internal,
        };
        Self::new(code, message)
    }
}

/// Streams one trace.
pub(super) async fn trace(
    ingest: Arc<Ingest>,
    adjuster: Adjuster,
    id: TraceId,
    raw: bool,
    model: Model,
) -> StreamReply {
    let work = move |chunks: &mut ChunkWriter| {
        let trace = stored_trace(&ingest, id).ok_or_else(|| ApiError::not_found(TRACE_NOT_FOUND))?;
        write_traces(std::iter::once(adjuster.answer(trace, raw)), model, chunks)
    };
    streamed(&LOOKUP_PERMITS, work).await
}

/// Streams the traces of a search.
pub(super) async fn traces(
    ingest: Arc<Ingest>,
    adjuster: Adjuster,
    search: Search,
    model: Model,
) -> StreamReply {
    let work = move |chunks: &mut ChunkWriter| {
        let found = ingest.store.search(&search.query);
        write_traces(found.map(|trace| adjuster.answer(trace, search.raw)), model, chunks)
    };
    search_streamed(work).await
}

/// Streams what a search writes.
pub(super) async fn search_streamed(
    work: impl FnOnce(&mut ChunkWriter) -> Result<(), ApiError> + Send + 'static,
) -> StreamReply {
    streamed(&SEARCH_PERMITS, work).await
}

/// Streams summaries of the traces of a search, with the bytes that `encode_id` returns for their ids.
pub(super) async fn summaries(
    ingest: Arc<Ingest>,
    adjuster: Adjuster,
    search: Search,
    encode_id: fn(TraceId) -> Vec<u8>,
) -> StreamReply {
    let work = move |chunks: &mut ChunkWriter| {
        let mut summaries = ListWriter::new(chunks);
        for trace in ingest.store.search(&search.query) {
            let trace = adjuster.summarized(trace, search.raw);
            summaries.push(&summary(v3::TraceSummary::from(&trace), encode_id))?;
        }
        Ok(summaries.end_list()?)
    };
    search_streamed(work).await
}

fn summary(summary: v3::TraceSummary, encode_id: fn(TraceId) -> Vec<u8>) -> TraceSummary {
    let count = |spans: u64| i32::try_from(spans).unwrap_or(i32::MAX);
    let service = |service: v3::ServiceSummary| ServiceSummary {
        name: service.name,
        span_count: count(service.span_count),
        error_span_count: count(service.error_span_count),
    };
    TraceSummary {
        trace_id: summary.trace_id.map(encode_id).unwrap_or_default(),
        root_service_name: summary.root_service_name,
        root_operation_name: summary.root_operation_name,
        min_start_time_unix_nano: summary.min_start_time_unix_nano,
        max_end_time_unix_nano: summary.max_end_time_unix_nano,
        span_count: count(summary.span_count),
        error_span_count: count(summary.error_span_count),
        orphan_span_count: count(summary.orphan_span_count),
        services: summary.services.into_iter().map(service).collect(),
    }
}

/// Replies with the names of all services.
pub(super) async fn services(ingest: Arc<Ingest>) -> Result<Response<GetServicesResponse>, Status> {
    lookup(move || GetServicesResponse { services: ingest.services() }).await
}

/// Replies with the operations of a service.
pub(super) async fn operations(
    ingest: Arc<Ingest>,
    request: GetOperationsRequest,
) -> Result<Response<GetOperationsResponse>, Status> {
    let GetOperationsRequest { service, span_kind } = request;
    lookup(move || {
        let kind = (!span_kind.is_empty()).then_some(&*span_kind);
        let operation = |(name, kind): (String, &str)| Operation { name, span_kind: kind.to_owned() };
        let operations = respond::operations(&ingest, &service, kind);
        GetOperationsResponse { operations: operations.into_iter().map(operation).collect() }
    })
    .await
}

/// Replies with the calls between services.
pub(super) async fn dependencies(
    ingest: Arc<Ingest>,
    request: GetDependenciesRequest,
) -> Result<Response<GetDependenciesResponse>, Status> {
    let start_ns = parameters::dependencies(request)?;
    search(move || {
        let calls = ingest.store.dependencies(&start_ns).into_iter();
        let link = |((parent, child), call_count)| DependencyLink {
            parent,
            child,
            call_count,
            source: String::new(),
        };
        GetDependenciesResponse { dependencies: calls.map(link).collect() }
    })
    .await
}

/// Replies with the result of a search.
pub(super) async fn search<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Response<T>, Status> {
    let computed: Result<T, ApiError> = streaming::compute(&SEARCH_PERMITS, || Ok(work())).await;
    Ok(Response::new(computed?))
}

/// Replies with the result of a lookup of names.
async fn lookup<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<Response<T>, Status> {
    let computed: Result<T, ApiError> = streaming::compute(&LOOKUP_PERMITS, || Ok(work())).await;
    Ok(Response::new(computed?))
}

async fn streamed(
    permits: &'static Semaphore,
    work: impl FnOnce(&mut ChunkWriter) -> Result<(), ApiError> + Send + 'static,
) -> StreamReply {
    let body = streaming::stream_chunks(permits, &streaming::STREAM_PERMIT, work).await?;
    let chunks =
        body.into_chunks().map(|chunk| chunk.map(Chunk).map_err(|error| Status::from(ApiError::from(error))));
    Ok(Response::new(Box::pin(chunks)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::streaming::QueryError;

    #[test]
    fn a_busy_server_is_unavailable_and_a_failure_has_no_details() {
        let status = |error| Status::from(ApiError::from(error));
        let busy = status(QueryError::Busy);
        assert_eq!((busy.code(), busy.message()), (Code::Unavailable, streaming::BUSY));
        let failed = status(QueryError::Failed);
        assert_eq!((failed.code(), failed.message()), (Code::Internal, "internal error"));
    }
}
