//! The balancer as an HTTP intermediary (RFC 9110 and 9112), between raw sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::*;

/// What an upstream does with a request.
enum Reply {
    /// Sends the bytes and waits for the next request.
    Keep(&'static [u8]),
    /// Sends the bytes and closes the connection without having announced it.
    Close(&'static [u8]),
    /// Sends the bytes and then nothing, with the connection open.
    Stall(&'static [u8]),
    /// Sends the head of the request back.
    Echo,
}

/// Starts an upstream that answers readiness probes, and other requests as `reply` says for their path.
async fn upstream(reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let reply = Arc::new(reply);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let reply = Arc::clone(&reply);
            tokio::spawn(async move { answer(stream, &*reply).await });
        }
    });
    address
}

async fn answer(stream: TcpStream, reply: &(impl Fn(&str) -> Reply + Send + Sync)) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.ok()? == 0 {
                return None;
            }
        }
        let path = head.split(' ').nth(1)?.to_owned();
        let (bytes, keep) = match reply(&path) {
            _ if path == "/health/ready" => (&b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"[..], true),
            Reply::Keep(bytes) => (bytes, true),
            Reply::Close(bytes) => (bytes, false),
            Reply::Stall(bytes) => {
                stream.write_all(bytes).await.ok()?;
                return std::future::pending().await;
            }
            Reply::Echo => {
                let length = head.len();
                let echo = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{head}");
                stream.write_all(echo.as_bytes()).await.ok()?;
                continue;
            }
        };
        stream.write_all(bytes).await.ok()?;
        if !keep {
            return stream.shutdown().await.ok();
        }
    }
}

/// Sends `request` and returns everything up to the end of the connection, each byte as one character.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut reply)).await;
    // A connection that is aborted in the middle of a reply may end with a reset.
    let _ = read.expect("the balancer should end the connection");
    reply.into_iter().map(char::from).collect()
}

async fn get(address: SocketAddr, path: &str, fields: &str) -> String {
    exchange(address, &format!("GET {path} HTTP/1.1\r\nhost: a\r\n{fields}connection: close\r\n\r\n")).await
}

/// Replies that are unusual, wrong or cut off, by path.
fn odd(path: &str) -> Reply {
    match path {
        "/early" => Reply::Keep(
            b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        ),
        "/trailers" => Reply::Keep(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n",
        ),
        "/hop" => Reply::Keep(
            b"HTTP/1.1 200 OK\r\nconnection: x-priv\r\nx-priv: 1\r\nkeep-alive: timeout=3\r\nproxy-connection: x\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\nok",
        ),
        "/dup" => {
            Reply::Keep(b"HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 2\r\n\r\nok")
        }
        "/nobody" => Reply::Keep(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"),
        "/cut" => Reply::Close(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this"),
        "/cut-chunked" => Reply::Close(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\n"),
        "/old" => Reply::Close(b"HTTP/1.0 200 OK\r\n\r\nuntil close"),
        "/garbage" => Reply::Close(b"NOT HTTP AT ALL\r\n\r\n"),
        "/switch" => Reply::Keep(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"),
        "/reason" => Reply::Keep(b"HTTP/1.1 299 \xe9\xe8 odd reason\r\ncontent-length: 0\r\n\r\n"),
        "/slow" => Reply::Stall(b""),
        "/stall" => Reply::Stall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this"),
        _ => Reply::Echo,
    }
}

#[tokio::test]
async fn replies_are_sent_on_as_http_1_1_without_the_fields_of_the_connection() {
    let balancer = balancer_over(&[upstream(odd).await]).await.address;

    for (path, body) in [("/early", "\r\n\r\nok"), ("/old", "until close"), ("/dup", "\r\n\r\nok")] {
        let reply = get(balancer, path, "").await;
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n") && reply.contains(body), "{reply}");
    }
    let reply = get(balancer, "/dup", "").await;
    assert!(reply.contains("set-cookie: a=1\r\n") && reply.contains("set-cookie: b=2\r\n"), "{reply}");

    let reply = get(balancer, "/hop", "").await;
    assert!(reply.ends_with("\r\n\r\nok"), "{reply}");
    for field in ["x-priv", "keep-alive", "proxy-connection", "upgrade"] {
        assert!(!reply.contains(field), "{field}: {reply}");
    }

    let reply = get(balancer, "/nobody", "").await;
    assert!(reply.starts_with("HTTP/1.1 204"), "{reply}");
    assert!(!reply.contains("content-length"), "{reply}");

    let reply = get(balancer, "/reason", "").await;
    assert!(reply.starts_with("HTTP/1.1 299 "), "{reply}");
}

#[tokio::test]
async fn trailers_reach_callers_that_accept_them() {
    let balancer = balancer_over(&[upstream(odd).await]).await.address;
    let without = get(balancer, "/trailers", "").await;
    assert!(without.ends_with("2\r\nok\r\n0\r\n\r\n"), "{without}");
    let with = exchange(
        balancer,
        "GET /trailers HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: close, te\r\n\r\n",
    )
    .await;
    assert!(with.ends_with("2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n"), "{with}");
}

#[tokio::test]
async fn a_reply_that_is_cut_off_is_not_completed() {
    let balancer = balancer_over(&[upstream(odd).await]).await.address;
    let reply = get(balancer, "/cut", "").await;
    assert!(reply.contains("content-length: 100\r\n") && reply.ends_with("only this"), "{reply}");
    let reply = get(balancer, "/cut-chunked", "").await;
    assert!(reply.contains("only this") && !reply.contains("0\r\n\r\n"), "{reply}");
}

#[tokio::test]
async fn a_reply_that_is_not_http_is_a_502() {
    let balancer = balancer_over(&[upstream(odd).await]).await.address;
    for path in ["/garbage", "/switch"] {
        let reply = get(balancer, path, "").await;
        assert!(reply.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{path}: {reply}");
        assert!(reply.contains("content-type: application/problem+json\r\n"), "{path}: {reply}");
        assert!(reply.contains(r#""code":"bad_gateway""#), "{path}: {reply}");
    }
}

#[tokio::test]
async fn a_reply_that_stalls_ends_with_the_timeout_of_the_request() {
    let settings = ["--request-timeout-ms", "3000"];
    let balancer = balancer_with(&[upstream(odd).await], &settings).await.address;
    let (slow, stalled) = tokio::join!(get(balancer, "/slow", ""), get(balancer, "/stall", ""));
    assert!(slow.starts_with("HTTP/1.1 504") && slow.contains("application/problem+json"), "{slow}");
    assert!(stalled.starts_with("HTTP/1.1 200") && stalled.ends_with("only this"), "{stalled}");
}

#[tokio::test]
async fn a_request_is_forwarded_without_the_fields_of_the_connection() {
    let balancer = balancer_over(&[upstream(|_| Reply::Echo).await]).await.address;
    let request = "GET /echo HTTP/1.1\r\nHost: h:1\r\nX-Forwarded-For: 10.1.1.1\r\nX-Forwarded-For: 10.2.2.2\r\n\
                   X-A: 1\r\nX-A: 2\r\nConnection: close, X-Secret\r\nX-Secret: s\r\nTE: trailers\r\n\
                   Upgrade: h2c\r\nProxy-Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nVia: 1.0 fred\r\n\r\n";
    let echo = exchange(balancer, request).await;
    let (_, forwarded) = echo.split_once("\r\n\r\n").unwrap();
    let fields: Vec<&str> = forwarded.trim_end().split("\r\n").collect();
    for wanted in [
        "GET /echo HTTP/1.1",
        "host: h:1",
        "x-forwarded-for: 10.1.1.1, 10.2.2.2, 127.0.0.1",
        "x-a: 1",
        "x-a: 2",
        "via: 1.0 fred, 1.1 load_balancer",
    ] {
        assert!(fields.contains(&wanted), "{wanted}: {forwarded}");
    }
    for unwanted in ["x-secret", "te:", "proxy-connection", "keep-alive", "connection", "upgrade"] {
        assert!(!fields.iter().any(|field| field.starts_with(unwanted)), "{unwanted}: {forwarded}");
    }
}

#[tokio::test]
async fn the_target_of_a_request_in_absolute_form_replaces_its_host() {
    let balancer = balancer_over(&[upstream(|_| Reply::Echo).await]).await.address;
    let request = "GET http://right.example/echo?x=1 HTTP/1.1\r\nhost: wrong\r\nconnection: close\r\n\r\n";
    let echo = exchange(balancer, request).await;
    assert!(echo.contains("GET /echo?x=1 HTTP/1.1\r\n"), "{echo}");
    assert!(echo.contains("host: right.example\r\n") && !echo.contains("wrong"), "{echo}");
}

#[tokio::test]
async fn requests_that_no_intermediary_may_forward_are_rejected() {
    let balancer = balancer_over(&[upstream(|_| Reply::Echo).await]).await.address;
    for (head, status) in [
        ("GET /search?subject=Math HTTP/1.1\r\nauthorization: Bearer x", 400),
        ("GET /echo HTTP/1.1\r\nhost: a\r\nhost: b", 400),
        ("TRACE /echo HTTP/1.1\r\nhost: a", 405),
        ("CONNECT a:80 HTTP/1.1\r\nhost: a:80", 405),
        ("POST /book HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2", 400),
        ("POST /book HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip", 400),
    ] {
        let reply = exchange(balancer, &format!("{head}\r\nconnection: close\r\n\r\n")).await;
        assert!(reply.starts_with(&format!("HTTP/1.1 {status}")), "{head}: {reply}");
    }
    let old = exchange(balancer, "GET /echo HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200") && old.contains("via: 1.0 load_balancer\r\n"), "{old}");
}

#[tokio::test]
async fn a_body_with_two_lengths_is_forwarded_with_one() {
    let balancer = balancer_over(&[upstream(|_| Reply::Echo).await]).await.address;
    let request = "POST /book HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\
                   connection: close\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let echo = exchange(balancer, request).await;
    assert!(!echo.split_once("\r\n\r\n").unwrap().1.contains("content-length"), "{echo}");
}

/// Starts a gateway that closes the connection without a reply, and counts the requests that it receives.
async fn dying_gateway() -> (SocketAddr, Arc<AtomicUsize>) {
    let received = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&received);
    let address = upstream(move |path| {
        count.fetch_add(usize::from(path != "/health/ready"), SeqCst);
        Reply::Close(b"")
    });
    (address.await, received)
}

#[tokio::test]
async fn a_request_without_a_reply_is_sent_once_more_but_a_post_or_a_delete_never() {
    let (dying, received) = dying_gateway().await;
    let healthy = Running::gateway("healthy").await;
    let balancer = balancer_over(&[dying, healthy.address]).await;
    for _ in 0..8 {
        let answer = call(request("GET", balancer.address, "/search", "")).await;
        assert_eq!((answer.status, answer.served_by()), (StatusCode::OK, "healthy"));
    }
    assert_eq!(received.swap(0, SeqCst), 4, "every second request was sent twice");
    for (method, path) in [("POST", "/book"), ("DELETE", "/bookings/1")] {
        let mut refused = 0;
        for _ in 0..8 {
            let answer = call(request(method, balancer.address, path, "{}")).await;
            refused += usize::from(answer.status == StatusCode::SERVICE_UNAVAILABLE);
        }
        assert_eq!((refused, received.swap(0, SeqCst)), (4, 4), "{method}");
    }
}

#[tokio::test]
async fn repeated_requests_are_limited_by_the_retry_budget() {
    let (dying, received) = dying_gateway().await;
    let balancer = balancer_over(&[dying]).await;
    for _ in 0..50 {
        let answer = call(request("GET", balancer.address, "/search", "")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    let repeated = received.load(SeqCst) - 50;
    assert!((10..=20).contains(&repeated), "{repeated}");
}

#[tokio::test]
async fn a_gateway_that_closes_pooled_connections_silently_fails_no_get() {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let gateways = [upstream(|_| Reply::Close(OK)).await, upstream(|_| Reply::Close(OK)).await];
    let balancer = balancer_over(&gateways).await;
    for n in 0..40 {
        let answer = call(request("GET", balancer.address, "/search", "")).await;
        assert_eq!(answer.status, StatusCode::OK, "request {n}");
    }
}
