//! One query for all gateways, with the cache in memory and with two caches on one Redis.

use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::time::sleep;

use super::*;
use crate::cache::redis_server::RedisServer;
use crate::gateway::cache_client::LEASE;

/// Requests of one burst to each gateway.
const BURST: usize = 8;
const GATEWAYS: usize = 4;
const KEY_PATH: &str = "/get/search%3Amath";

/// Four gateways, and the addresses of the caches that they use.
struct Scaled {
    setup: Arc<Setup>,
    caches: Vec<String>,
    reads: watch::Sender<usize>,
    _redis: Option<RedisServer>,
}

impl Scaled {
    async fn in_memory() -> Self {
        let reads = watch::Sender::new(0);
        let caches = vec![cache(&[], &reads).await];
        Self::new(caches, reads, None).await
    }

    async fn on_redis() -> Self {
        let (reads, redis) = (watch::Sender::new(0), RedisServer::start());
        let url = redis.url();
        let backend = ["--cache-backend", &url, "--redis-timeout-ms", "20000"];
        let caches = vec![cache(&backend, &reads).await, cache(&backend, &reads).await];
        Self::new(caches, reads, Some(redis)).await
    }

    async fn new(caches: Vec<String>, reads: watch::Sender<usize>, redis: Option<RedisServer>) -> Self {
        let used: Vec<&str> = caches.iter().map(String::as_str).cycle().take(GATEWAYS).collect();
        let setup = Arc::new(Setup::with_caches(&used, reads.clone()).await);
        Self { setup, caches, reads, _redis: redis }
    }

    /// Sends [`BURST`] searches to each gateway at once.
    async fn burst(&self) {
        let searches = (0..BURST * GATEWAYS).map(|request| self.setup.search_at(request % GATEWAYS, "Math"));
        let expected: Vec<Tutor> = dataset::search(100, "Math");
        assert!(join_all(searches).await.iter().all(|reply| reply.data == expected));
    }

    fn search_in_background(&self, gateway: usize) -> tokio::task::JoinHandle<SearchReply> {
        let setup = Arc::clone(&self.setup);
        tokio::spawn(async move { setup.search_at(gateway, "Math").await })
    }

    /// Calls the last cache directly.
    async fn call_cache(&self, method: &str, path: &str, body: &'static str) -> StatusCode {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.caches[self.caches.len() - 1]))
            .body(Full::new(Bytes::from_static(body.as_bytes())));
        peer::client().request(request.unwrap()).await.unwrap().status()
    }
}

async fn eventually(mut condition: impl AsyncFnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(30);
    while !condition().await {
        assert!(Instant::now() < give_up, "the condition did not become true");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn each_expiry_costs_one_query(scaled: Scaled) {
    for expiries in 1..=2 {
        // No query is answered before all requests of the burst have missed the cache.
        scaled.setup.search.hold_until.store(*scaled.reads.borrow() + BURST * GATEWAYS, SeqCst);
        scaled.burst().await;
        assert_eq!(scaled.setup.queries(), expiries);
        eventually(async || scaled.call_cache("GET", KEY_PATH, "").await == StatusCode::NOT_FOUND).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_key_that_expires_costs_one_query_over_all_gateways() {
    each_expiry_costs_one_query(Scaled::in_memory().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_key_that_expires_costs_one_query_over_all_gateways_on_redis() {
    each_expiry_costs_one_query(Scaled::on_redis().await).await;
}

async fn one_more_query_after_the_holder_died(scaled: Scaled) {
    // The test takes the lease and dies.
    let lease = format!("{KEY_PATH}?lease_ms=500");
    assert_eq!(scaled.call_cache("GET", &lease, "").await, StatusCode::NOT_FOUND);
    scaled.burst().await;
    assert_eq!(scaled.setup.queries(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_dies_costs_one_more_query() {
    one_more_query_after_the_holder_died(Scaled::in_memory().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_dies_costs_one_more_query_on_redis() {
    one_more_query_after_the_holder_died(Scaled::on_redis().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_is_cancelled_returns_its_lease() {
    let scaled = Scaled::in_memory().await;
    scaled.setup.search.hold_until.store(usize::MAX, SeqCst);
    let cancelled = scaled.search_in_background(0);
    eventually(async || scaled.setup.queries() == 1).await;
    scaled.setup.search.hold_until.store(0, SeqCst);
    let waiting = scaled.search_in_background(1);
    cancelled.abort();
    let aborted = Instant::now();
    assert!(!waiting.await.unwrap().cached);
    assert!(aborted.elapsed() < LEASE, "it waited for the end of the lease: {:?}", aborted.elapsed());
    assert_eq!(scaled.setup.queries(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_after_a_delete_gets_no_value_from_before_it() {
    let scaled = Scaled::in_memory().await;
    // The first query is answered after the second request has read the cache.
    scaled.setup.search.hold_until.store(2, SeqCst);
    let before = scaled.search_in_background(0);
    eventually(async || scaled.setup.queries() == 1).await;
    let deleted = scaled.call_cache("POST", "/delete", r#"{"keys":["search:math"]}"#).await;
    assert_eq!(deleted, StatusCode::OK);
    let after = scaled.search_in_background(0);
    assert!(!before.await.unwrap().cached);
    assert!(!after.await.unwrap().cached);
    assert_eq!(scaled.setup.queries(), 2, "the second request did not use the first query");
    assert!(scaled.setup.search_at(1, "Math").await.cached, "the second result is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_cache_concurrent_queries_are_limited() {
    let setup = Setup::with_caches(&["http://127.0.0.1:1"], watch::Sender::new(0)).await;
    let subjects: Vec<String> = (0..40).map(|number| format!("Subject{number}")).collect();
    let all = join_all(subjects.iter().map(|subject| setup.search(subject)));
    let permits = async {
        // Queries are held, so all that have a permit run at once.
        eventually(async || setup.search.running.load(SeqCst) == 8).await;
        setup.search.reads.send_modify(|reads| *reads += 1);
    };
    setup.search.hold_until.store(1, SeqCst);
    let (replies, ()) = tokio::join!(all, permits);
    assert_eq!(replies.len(), 40);
    assert_eq!((setup.queries(), setup.search.most_running.load(SeqCst)), (40, 8));
}
