use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::response::Response;
use axum::routing::get;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::body::{CHUNK_BYTES, ResponseBody};
use super::writer::MAX_BUFFERED;
use super::*;

/// Permits for tests that are not about permits.
static UNLIMITED: Semaphore = Semaphore::const_new(Semaphore::MAX_PERMITS);

/// A response of the given length.
async fn response_of(length: usize, stream_permits: &'static Semaphore) -> Result<Response, QueryError> {
    let work = move |body: &mut ResponseWriter| Ok::<_, QueryError>(body.write_all(&vec![b'a'; length])?);
    stream(&UNLIMITED, Some(stream_permits), "text/plain", work).await
}

async fn read(response: Response) -> Result<usize, axum::Error> {
    response.into_body().collect().await.map(|body| body.to_bytes().len())
}

#[tokio::test]
async fn a_body_holds_its_permit_until_its_last_chunk_is_read() {
    static PERMIT: Semaphore = Semaphore::const_new(1);
    let sent: Bytes = (0..CHUNK_BYTES * 2 + 1).map(|position| position as u8).collect();
    let chunks = || sent.chunks(CHUNK_BYTES).map(Bytes::copy_from_slice).collect::<VecDeque<_>>();
    let body = || ResponseBody::buffered(chunks(), Some(PERMIT.try_acquire().unwrap())).into_body();
    let (mut long, mut received) = (body(), Vec::new());
    while let Some(chunk) = long.frame().await {
        assert_eq!(PERMIT.available_permits(), 0, "after {} bytes", received.len());
        received.extend(chunk.unwrap().into_data().unwrap());
    }
    assert_eq!((received, PERMIT.available_permits()), (sent.to_vec(), 1));

    drop(body());
    assert_eq!(PERMIT.available_permits(), 1, "released when the client disconnects");
}

#[tokio::test]
async fn responses_of_every_length_are_complete_and_buffered_ones_have_a_content_length() {
    for (length, has_length) in [
        (0, true),
        (7, true),
        (CHUNK_BYTES, true),
        (MAX_BUFFERED, true),
        (MAX_BUFFERED + 1, false),
        (3 * MAX_BUFFERED, false),
    ] {
        let response = response_of(length, &UNLIMITED).await.unwrap();
        let content_length =
            response.headers().get(header::CONTENT_LENGTH).map(|value| value.to_str().unwrap());
        assert_eq!(content_length, has_length.then(|| length.to_string()).as_deref());
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain");
        assert_eq!(read(response).await.unwrap(), length);
    }
}

#[tokio::test]
async fn a_streamed_response_is_written_no_faster_than_it_is_read() {
    const LENGTH: usize = 4 * MAX_BUFFERED;
    let written = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&written);
    let work = move |body: &mut ResponseWriter| {
        for _ in 0..LENGTH / 1024 {
            body.write_all(&[b'a'; 1024])?;
            counter.fetch_add(1024, Ordering::Relaxed);
        }
        Ok::<_, QueryError>(())
    };
    let mut body = stream(&UNLIMITED, Some(&UNLIMITED), "text/plain", work).await.unwrap().into_body();
    let mut read = 0;
    while let Some(chunk) = body.frame().await {
        let ahead = written.load(Ordering::Relaxed) - read;
        assert!(ahead <= MAX_BUFFERED + 4 * CHUNK_BYTES, "{ahead} bytes ahead after {read}");
        read += chunk.unwrap().into_data().unwrap().len();
    }
    assert_eq!(read, LENGTH);
}

/// With a paused clock, which advances to the next timer when all tasks wait.
#[tokio::test(start_paused = true)]
async fn a_second_streamed_response_is_refused_while_the_first_is_read() {
    static ONE: Semaphore = Semaphore::const_new(1);
    let first = response_of(MAX_BUFFERED + 1, &ONE).await.unwrap();
    assert_eq!(response_of(MAX_BUFFERED + 1, &ONE).await.unwrap_err(), QueryError::Busy);
    let buffered = response_of(MAX_BUFFERED, &ONE).await.unwrap();
    assert_eq!(read(buffered).await.unwrap(), MAX_BUFFERED, "a buffered response needs no stream permit");
    drop(first);
    for attempt in ["after a disconnect", "after a complete response"] {
        let response = response_of(MAX_BUFFERED + 1, &ONE).await.unwrap();
        assert_eq!(read(response).await.unwrap(), MAX_BUFFERED + 1, "{attempt}");
    }
}

#[tokio::test]
async fn work_ends_and_releases_its_permit_when_the_client_disconnects() {
    static ONE: Semaphore = Semaphore::const_new(1);
    let endless = |body: &mut ResponseWriter| -> Result<(), QueryError> {
        loop {
            body.write_all(&[b'a'; 1024])?;
        }
    };
    for chunks in [0, 1, 40] {
        let mut body = stream(&ONE, None, "text/plain", endless).await.unwrap().into_body();
        for _ in 0..chunks {
            body.frame().await.unwrap().unwrap();
        }
        assert_eq!(ONE.available_permits(), 0);
    }
    ONE.acquire().await.unwrap().forget();
}

/// A response that fails after `length` bytes.
fn failing(length: usize, panics: bool) -> impl Future<Output = Result<Response, QueryError>> {
    stream(&UNLIMITED, None, "text/plain", move |body| {
        body.write_all(&vec![b'a'; length])?;
        assert!(!panics, "expected by the test");
        Err(QueryError::Failed)
    })
}

#[tokio::test]
async fn an_error_is_returned_before_streaming_and_cuts_the_body_off_afterwards() {
    for panics in [false, true] {
        assert_eq!(failing(MAX_BUFFERED, panics).await.unwrap_err(), QueryError::Failed);
        assert!(read(failing(MAX_BUFFERED + CHUNK_BYTES, panics).await.unwrap()).await.is_err());
        assert!(read(failing(3 * MAX_BUFFERED, panics).await.unwrap()).await.is_err());
    }
}

#[tokio::test]
async fn a_client_can_distinguish_a_truncated_response() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/complete", get(|| async { response_of(2 * MAX_BUFFERED, &UNLIMITED).await.unwrap() }))
        .route("/truncated", get(|| async { failing(2 * MAX_BUFFERED, false).await.unwrap() }));
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(telemetry::server::serve(listener, router, shutdown.clone()));
    for (path, is_complete) in [("/complete", true), ("/truncated", false)] {
        let mut client = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        client.read_to_end(&mut reply).await.unwrap();
        assert!(reply.starts_with(b"HTTP/1.1 200 OK\r\n"), "{path}");
        assert_eq!(reply.ends_with(b"\r\n0\r\n\r\n"), is_complete, "{path}");
    }
    shutdown.cancel();
    server.await.unwrap().unwrap();
}
