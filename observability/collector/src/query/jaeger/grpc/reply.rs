//! Replies: computed with the permits of the HTTP API, and streamed no faster than the client reads.

use std::pin::Pin;
use std::sync::Arc;

use axum::http::StatusCode;
use futures::stream::{Stream, StreamExt as _};
use tokio::sync::Semaphore;
use tonic::{Code, Response, Status};

use super::chunks::{Model, write_traces};
use crate::ingest::Ingest;
use crate::query::jaeger::adjust::Adjuster;
use crate::query::jaeger::error::ApiError;
use crate::query::jaeger::protocol::Chunk;
use crate::query::jaeger::respond::{LOOKUP_PERMITS, SEARCH_PERMITS, stored_trace};
use crate::query::jaeger::search::Search;
use crate::query::jaeger::v1::TRACE_NOT_FOUND;
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

/// Replies with the result of a search.
pub(super) async fn search<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Response<T>, Status> {
    let computed: Result<T, ApiError> = streaming::compute(&SEARCH_PERMITS, || Ok(work())).await;
    Ok(Response::new(computed?))
}

/// Replies with the result of a lookup of names.
pub(super) async fn lookup<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Response<T>, Status> {
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
