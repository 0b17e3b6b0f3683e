//! Runs queries on blocking threads, a bounded number at a time.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::QueryError;
use super::body::{CHUNK_BYTES, ResponseBody};
use super::writer::{ChunkWriter, ResponseWriter};

/// Limit on buffered responses that clients have not read yet, in KiB.
const MAX_UNREAD_KIB: usize = 32 << 10;
static UNREAD_PERMITS: Semaphore = Semaphore::const_new(MAX_UNREAD_KIB);

/// Permit for streaming a long response, shared by several kinds of queries. A streamed response holds one of its kind's
/// permits until the client has read it; with at most one such response the other permits stay available.
pub(crate) static STREAM_PERMIT: Semaphore = Semaphore::const_new(1);

/// Maximum wait for a permit that a slow client may hold.
const MAX_WAIT: Duration = Duration::from_secs(3);

/// Runs `work` on a blocking thread once one of `permits` is available, and returns its response.
pub(crate) async fn respond<E: From<QueryError> + Send + 'static>(
    permits: &'static Semaphore,
    work: impl FnOnce() -> Result<Response, E> + Send + 'static,
) -> Result<Response, E> {
    // The semaphore is never closed.
    let permit = permits.acquire().await.map_err(|_| QueryError::Failed)?;
    // The permit moves to the thread, because the work continues even if the client disconnects.
    let done = spawn_blocking(move || (work(), permit)).await;
    let (response, _permit) = done.map_err(|error| QueryError::logged(&error))?;
    let (head, body) = response?.into_parts();
    let mut body = to_bytes(body, usize::MAX).await.map_err(|error| QueryError::logged(&error))?;
    let mut chunks = VecDeque::new();
    while !body.is_empty() {
        chunks.push_back(body.split_to(body.len().min(CHUNK_BYTES)));
    }
    Ok((head, buffered(chunks).await?).into_response())
}

/// Returns what `work` computes on a blocking thread once one of `permits` is available; fails after 3 s.
pub(crate) async fn compute<T: Send + 'static, E: From<QueryError> + Send + 'static>(
    permits: &'static Semaphore,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    let permit = acquire_or_busy(permits, 1).await?;
    let done = spawn_blocking(move || (work(), permit)).await;
    let (done, _permit) = done.map_err(|error| QueryError::logged(&error))?;
    done
}

/// Responds with what `work` writes, once one of `permits` is available.
///
/// A response longer than 8 MiB is streamed while it is written, no faster than the client reads. If `stream_permits` is
/// given, streaming needs one of them, too. The status line is sent before the end of a streamed response, so `work` has to
/// return its errors before it writes; a later error cuts the body off.
pub(crate) async fn stream<E: From<QueryError> + Send + 'static>(
    permits: &'static Semaphore,
    stream_permits: Option<&'static Semaphore>,
    content_type: &'static str,
    work: impl FnOnce(&mut ResponseWriter) -> Result<(), E> + Send + 'static,
) -> Result<Response, E> {
    let written = move |chunks: ChunkWriter| -> Result<_, E> {
        let mut writer = ResponseWriter::new(chunks);
        work(&mut writer)?;
        Ok(writer.finish()?)
    };
    let (body, length) = written_by(permits, stream_permits, written).await?;
    let length = length.map(|bytes| [(header::CONTENT_LENGTH, bytes)]);
    Ok(([(header::CONTENT_TYPE, content_type)], length, body.into_body()).into_response())
}

/// Returns the chunks that `work` writes, with the permits and the limits of [`stream`].
pub(crate) async fn stream_chunks<E: From<QueryError> + Send + 'static>(
    permits: &'static Semaphore,
    stream_permits: &'static Semaphore,
    work: impl FnOnce(&mut ChunkWriter) -> Result<(), E> + Send + 'static,
) -> Result<ResponseBody, E> {
    let written = move |mut chunks: ChunkWriter| -> Result<_, E> {
        work(&mut chunks)?;
        Ok(chunks.finish())
    };
    written_by(permits, Some(stream_permits), written).await.map(|(body, _)| body)
}

/// Returns the body that `work` writes, and its length unless it is streamed. `work` returns the buffered chunks.
async fn written_by<E: From<QueryError> + Send + 'static>(
    permits: &'static Semaphore,
    stream_permits: Option<&'static Semaphore>,
    work: impl FnOnce(ChunkWriter) -> Result<VecDeque<Bytes>, E> + Send + 'static,
) -> Result<(ResponseBody, Option<usize>), E> {
    let permit = match stream_permits {
        // A streamed response may hold one of the permits for minutes.
        Some(_) => acquire_or_busy(permits, 1).await?,
        None => permits.acquire().await.map_err(|_| QueryError::Failed)?,
    };
    let (writer, overflow, rest) = ChunkWriter::new();
    let mut work = spawn_blocking(move || (work(writer), permit));
    tokio::select! {
        // Work that is done may have overflowed its buffer, so the overflow is checked first.
        biased;
        Ok(chunks) = overflow => {
            let permit = match stream_permits {
                Some(permits) => Some(acquire_or_busy(permits, 1).await?),
                None => None,
            };
            let completion = async move {
                let (done, _permit) = work.await.map_err(|error| QueryError::logged(&error))?;
                done.map(drop).map_err(|_| QueryError::Failed)
            };
            Ok((ResponseBody::streamed(chunks, rest, Box::pin(completion), permit), None))
        }
        done = &mut work => {
            let (done, permit) = done.map_err(|error| QueryError::logged(&error))?;
            // The work is done: waiting for clients to read other responses must not block other queries.
            drop(permit);
            let (body, length) = buffered_body(done?).await?;
            Ok((body, Some(length)))
        }
    }
}

/// Acquires `count` permits, or returns [`QueryError::Busy`] after 3 s.
pub(crate) async fn acquire_or_busy(
    permits: &'static Semaphore,
    count: u32,
) -> Result<SemaphorePermit<'static>, QueryError> {
    let acquired = timeout(MAX_WAIT, permits.acquire_many(count)).await;
    acquired.ok().and_then(Result::ok).ok_or(QueryError::Busy)
}

/// Returns a complete response with its `content-length`.
async fn buffered(chunks: VecDeque<Bytes>) -> Result<Response, QueryError> {
    let (body, length) = buffered_body(chunks).await?;
    Ok(([(header::CONTENT_LENGTH, length)], body.into_body()).into_response())
}

/// Returns a complete body and its length.
async fn buffered_body(chunks: VecDeque<Bytes>) -> Result<(ResponseBody, usize), QueryError> {
    let bytes: usize = chunks.iter().map(Bytes::len).sum();
    let permit = if bytes > CHUNK_BYTES {
        Some(acquire_or_busy(&UNREAD_PERMITS, (bytes >> 10).min(MAX_UNREAD_KIB) as u32).await?)
    } else {
        None
    };
    Ok((ResponseBody::buffered(chunks, permit), bytes))
}
