use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::get;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::writing::KEPT;
use super::*;

/// As much as tests ask for; what tests of one room do is not bounded by others.
static ANY: Semaphore = Semaphore::const_new(Semaphore::MAX_PERMITS);

/// An answer of so many bytes.
async fn of(bytes: usize, long: &'static Semaphore) -> Result<Response, Unanswered> {
    let work = move |body: &mut Writing| Ok::<_, Unanswered>(body.write_all(&vec![b'a'; bytes])?);
    written(&ANY, Some(long), "text/plain", work).await
}

async fn bytes(response: Response) -> Result<usize, axum::Error> {
    response.into_body().collect().await.map(|body| body.to_bytes().len())
}

#[tokio::test]
async fn an_answer_takes_room_until_its_last_piece_has_left() {
    static ROOM: Semaphore = Semaphore::const_new(1);
    let answer: Bytes = (0..PIECE * 2 + 1).map(|position| position as u8).collect();
    let pieces = || answer.chunks(PIECE).map(Bytes::copy_from_slice).collect();
    let deliver = || Delivery::of(pieces(), Some(ROOM.try_acquire().unwrap())).into_body();
    let (mut long, mut got) = (deliver(), Vec::new());
    while let Some(piece) = long.frame().await {
        assert_eq!(ROOM.available_permits(), 0, "after {} bytes", got.len());
        got.extend(piece.unwrap().into_data().unwrap());
    }
    assert_eq!((got, ROOM.available_permits()), (answer.to_vec(), 1));

    drop(deliver());
    assert_eq!(ROOM.available_permits(), 1, "nobody waits for it any more");
}

#[tokio::test]
async fn what_is_kept_is_told_how_long_it_is_and_a_long_answer_is_as_whole() {
    for (length, told) in
        [(0, true), (7, true), (PIECE, true), (KEPT, true), (KEPT + 1, false), (3 * KEPT, false)]
    {
        let response = of(length, &ANY).await.unwrap();
        let told_length = response.headers().get(header::CONTENT_LENGTH).map(|value| value.to_str().unwrap());
        assert_eq!(told_length, told.then(|| length.to_string()).as_deref());
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain");
        assert_eq!(bytes(response).await.unwrap(), length);
    }
}

#[tokio::test]
async fn a_long_answer_is_written_no_faster_than_it_is_read() {
    const LENGTH: usize = 4 * KEPT;
    let written_so_far = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&written_so_far);
    let work = move |body: &mut Writing| {
        for _ in 0..LENGTH / 1024 {
            body.write_all(&[b'a'; 1024])?;
            counter.fetch_add(1024, Ordering::Relaxed);
        }
        Ok::<_, Unanswered>(())
    };
    let mut body = written(&ANY, Some(&ANY), "text/plain", work).await.unwrap().into_body();
    let mut read = 0;
    while let Some(piece) = body.frame().await {
        let ahead = written_so_far.load(Ordering::Relaxed) - read;
        assert!(ahead <= KEPT + 4 * PIECE, "{ahead} bytes after {read}");
        read += piece.unwrap().into_data().unwrap().len();
    }
    assert_eq!(read, LENGTH);
}

/// The clock leaps to the next timer whenever everybody waits.
#[tokio::test(start_paused = true)]
async fn long_answers_go_one_at_a_time_and_others_are_told_so() {
    static ONE: Semaphore = Semaphore::const_new(1);
    let first = of(KEPT + 1, &ONE).await.unwrap();
    assert_eq!(of(KEPT + 1, &ONE).await.unwrap_err(), Unanswered::Busy);
    assert_eq!(bytes(of(KEPT, &ONE).await.unwrap()).await.unwrap(), KEPT, "it is not long");
    drop(first);
    assert_eq!(bytes(of(KEPT + 1, &ONE).await.unwrap()).await.unwrap(), KEPT + 1);
    assert_eq!(bytes(of(KEPT + 1, &ONE).await.unwrap()).await.unwrap(), KEPT + 1, "the one before has left");
}

/// Room for one, of which the answer of a reader who goes away takes none any more.
#[tokio::test]
async fn work_ends_when_nobody_reads_on() {
    static ONE: Semaphore = Semaphore::const_new(1);
    let endless = |body: &mut Writing| -> Result<(), Unanswered> {
        loop {
            body.write_all(&[b'a'; 1024])?;
        }
    };
    for pieces in [0, 1, 40] {
        let mut body = written(&ONE, None, "text/plain", endless).await.unwrap().into_body();
        for _ in 0..pieces {
            body.frame().await.unwrap().unwrap();
        }
        assert_eq!(ONE.available_permits(), 0);
    }
    ONE.acquire().await.unwrap().forget();
}

fn failing(bytes: usize, panics: bool) -> impl Future<Output = Result<Response, Unanswered>> {
    written(&ANY, None, "text/plain", move |body| {
        body.write_all(&vec![b'a'; bytes])?;
        assert!(!panics, "as it should");
        Err(Unanswered::BrokeOff)
    })
}

#[tokio::test]
async fn what_fails_before_it_is_long_is_no_answer_and_what_fails_later_breaks_off() {
    for panics in [false, true] {
        assert_eq!(failing(KEPT, panics).await.unwrap_err(), Unanswered::BrokeOff);
        assert!(bytes(failing(KEPT + PIECE, panics).await.unwrap()).await.is_err());
        assert!(bytes(failing(3 * KEPT, panics).await.unwrap()).await.is_err());
    }
}

#[tokio::test]
async fn a_client_sees_that_an_answer_was_broken_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/whole", get(|| async { of(2 * KEPT, &ANY).await.unwrap() }))
        .route("/broken", get(|| async { failing(2 * KEPT, false).await.unwrap() }));
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(telemetry::server::serve(listener, router, shutdown.clone()));
    for (path, ends) in [("/whole", true), ("/broken", false)] {
        let mut peer = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n");
        peer.write_all(request.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        peer.read_to_end(&mut reply).await.unwrap();
        assert!(reply.starts_with(b"HTTP/1.1 200 OK\r\n"), "{path}");
        assert_eq!(reply.ends_with(b"\r\n0\r\n\r\n"), ends, "{path}");
    }
    shutdown.cancel();
    server.await.unwrap().unwrap();
}
