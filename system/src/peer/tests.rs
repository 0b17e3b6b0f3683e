//! Calls over sockets, of servers on several loopback addresses with one port.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use axum::Router;
use axum::routing::{any, get};
use http::StatusCode;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use super::*;

const DEADLINE: Duration = Duration::from_secs(10);

/// A server that counts its requests.
struct Server {
    received: Arc<AtomicUsize>,
}

impl Server {
    fn start(listener: TcpListener) -> Self {
        let received = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&received);
        let handler = any(move |headers: HeaderMap| {
            count.fetch_add(1, SeqCst);
            let host = headers.get(header::HOST).map(|host| host.as_bytes().to_vec());
            std::future::ready(host.unwrap_or_default())
        });
        let router = Router::new()
            .route("/health/ready", get(|| async {}))
            .route("/call", handler)
            .route("/slow", get(std::future::pending::<()>));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { received }
    }

    /// Accepts connections, reads a request of each and closes them without a reply.
    fn breaking(listener: TcpListener) -> Self {
        let received = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                count.fetch_add(1, SeqCst);
            }
        });
        Self { received }
    }

    fn received(&self) -> usize {
        self.received.load(SeqCst)
    }
}

/// Binds 127.0.0.1 and 127.0.0.2 with the same port.
async fn two_addresses() -> [TcpListener; 2] {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = first.local_addr().unwrap().port();
        if let Ok(second) = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), port)).await {
            return [first, second];
        }
    }
}

fn peer(addresses: &[&TcpListener], deadline: Duration) -> Peer {
    let urls: Vec<String> =
        addresses.iter().map(|at| format!("http://{}", at.local_addr().unwrap())).collect();
    Peer::new(&urls.join(",").parse().unwrap(), deadline)
}

async fn post(peer: &Peer) -> Result<StatusCode, Problem> {
    peer.post("/call", "/call", &"body").await.map(|reply| reply.status)
}

#[tokio::test]
async fn the_addresses_of_a_name_take_turns_and_receive_its_name() {
    let [one, two] = two_addresses().await;
    let port = one.local_addr().unwrap().port();
    let addresses: Vec<SocketAddr> = [&one, &two].map(|listener| listener.local_addr().unwrap()).into();
    let urls: BaseUrls = format!("http://queue:{port}").parse().unwrap();
    let lookup = move |_, _| std::future::ready(Ok(addresses.clone()));
    let peer = Peer::over(Endpoints::with_lookup(&urls, lookup), &urls, DEADLINE);
    let servers = [one, two].map(Server::start);
    for _ in 0..10 {
        let reply = peer.get("/call", "/call").await.unwrap();
        assert_eq!(reply.body, format!("queue:{port}"));
    }
    assert_eq!(servers.map(|server| server.received()), [5, 5]);
}

#[tokio::test]
async fn localhost_is_reached_by_whichever_of_its_addresses_serves() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = format!("localhost:{}", listener.local_addr().unwrap().port());
    let _server = Server::start(listener);
    let peer = Peer::new(&format!("http://{name}").parse().unwrap(), DEADLINE);
    for _ in 0..4 {
        let reply = peer.get("/call", "/call").await.unwrap();
        assert_eq!(reply.body, name);
    }
}

#[tokio::test]
async fn an_address_that_refuses_connections_fails_no_call_and_is_used_again_later() {
    let [dead, live] = two_addresses().await;
    let peer = peer(&[&dead, &live], DEADLINE);
    let address = dead.local_addr().unwrap();
    drop(dead);
    let live = Server::start(live);
    let calls = futures::future::join_all((0..60).map(|_| post(&peer))).await;
    assert!(
        calls.iter().all(|call| call.as_ref().is_ok_and(|status| *status == StatusCode::OK)),
        "{calls:?}"
    );
    assert_eq!(live.received(), 60);
    let returned = Server::start(TcpListener::bind(address).await.unwrap());
    let used_again = async {
        while returned.received() == 0 {
            post(&peer).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, used_again).await.expect("the address should be used again");
}

#[tokio::test]
async fn a_call_of_an_address_that_hangs_ends_at_its_deadline_and_the_next_ones_prefer_others() {
    let [hanging, live] = two_addresses().await;
    let deadline = Duration::from_millis(300);
    let peer = peer(&[&hanging, &live], deadline);
    let live = Server::start(live);
    let started = Instant::now();
    let error = peer.get("/call", "/call").await.unwrap_err();
    assert_eq!(error, PeerError::Timeout);
    assert!(started.elapsed() < 5 * deadline, "{:?}", started.elapsed());
    for _ in 0..20 {
        post(&peer).await.unwrap();
        // The probes of the address that hangs run meanwhile.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(live.received(), 20);
    let returned = Server::start(hanging);
    let used_again = async {
        while returned.received() == 0 {
            post(&peer).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, used_again).await.expect("the address should be used again");
}

#[tokio::test]
async fn a_read_whose_connection_breaks_goes_to_the_next_address_and_a_post_is_not_repeated() {
    let [breaking, live] = two_addresses().await;
    let peer = peer(&[&breaking, &live], DEADLINE);
    let (breaking, live) = (Server::breaking(breaking), Server::start(live));
    for _ in 0..6 {
        peer.get("/call", "/call").await.unwrap();
    }
    assert_eq!((breaking.received(), live.received()), (3, 6));
    let posts = [post(&peer).await, post(&peer).await];
    assert_eq!(posts.iter().filter(|post| post.is_ok()).count(), 1, "{posts:?}");
    assert_eq!((breaking.received(), live.received()), (4, 7));
}

#[tokio::test]
async fn the_only_address_is_called_although_it_timed_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = peer(&[&listener], Duration::from_millis(300));
    let server = Server::start(listener);
    assert_eq!(peer.get("/slow", "/slow").await.unwrap_err(), PeerError::Timeout);
    post(&peer).await.unwrap();
    assert_eq!(server.received(), 1);
}

#[tokio::test]
async fn a_peer_without_any_address_is_unreachable_at_once() {
    let urls: BaseUrls = "http://queue:1".parse().unwrap();
    let lookup = |_, _| std::future::ready(Ok(Vec::new()));
    let peer = Peer::over(Endpoints::with_lookup(&urls, lookup), &urls, DEADLINE);
    let error = tokio::time::timeout(DEADLINE / 2, peer.get("/call", "/call")).await.unwrap().unwrap_err();
    assert_eq!(error, PeerError::Unreachable);
}
