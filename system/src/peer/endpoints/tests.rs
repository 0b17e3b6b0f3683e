use std::collections::BTreeMap;
use std::sync::Mutex;

use super::super::health::Outcome;
use super::super::resolver::INTERVAL;
use super::*;

fn endpoints(count: usize) -> Endpoints {
    let urls: Vec<String> = (0..count).map(|n| format!("http://127.0.0.1:{}", 9000 + n)).collect();
    Endpoints::new(&urls.join(",").parse().unwrap())
}

fn firsts(endpoints: &Endpoints, requests: usize) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..requests {
        *counts.entry(endpoints.up()[0].address().port()).or_default() += 1;
    }
    counts
}

fn ports(endpoints: &[Arc<Endpoint>]) -> Vec<u16> {
    endpoints.iter().map(|endpoint| endpoint.address().port()).collect()
}

#[test]
fn addresses_take_turns() {
    assert_eq!(firsts(&endpoints(2), 101), BTreeMap::from([(9000, 51), (9001, 50)]));
}

#[test]
fn an_address_that_is_down_is_skipped_and_the_others_get_equal_shares() {
    let endpoints = endpoints(3);
    endpoints.all()[1].probed(false);
    assert_eq!(firsts(&endpoints, 100), BTreeMap::from([(9000, 50), (9002, 50)]));
    endpoints.all()[1].probed(true);
    assert_eq!(firsts(&endpoints, 99), BTreeMap::from([(9000, 33), (9001, 33), (9002, 33)]));
}

#[tokio::test]
async fn an_address_that_failed_comes_last_and_the_only_one_is_never_left_out() {
    let endpoints = endpoints(2);
    let fail = |position: usize| {
        endpoints.all()[position].begin();
        assert!(endpoints.all()[position].end(Outcome::Failed));
    };
    fail(0);
    for _ in 0..4 {
        assert_eq!(ports(&endpoints.up_first().await), [9001, 9000]);
    }
    fail(1);
    assert_eq!(endpoints.up_first().await.len(), 2);
    assert!(!endpoints.any_up() && endpoints.up().is_empty());
}

/// A name server whose reply the test changes; without addresses, the name does not resolve.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<Vec<SocketAddr>>>);

impl Names {
    fn set(&self, addresses: &[&str]) {
        *self.0.lock().unwrap() = addresses.iter().map(|address| address.parse().unwrap()).collect();
    }

    fn endpoints(&self, urls: &str) -> Endpoints {
        let names = self.clone();
        Endpoints::with_lookup(&urls.parse().unwrap(), move |_, _| {
            let addresses = names.0.lock().unwrap().clone();
            std::future::ready(Ok(addresses))
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_is_looked_up_again_and_again() {
    let names = Names::default();
    names.set(&["10.0.0.1:1"]);
    let endpoints = names.endpoints("http://queue:1");
    assert_eq!(endpoints.up_first().await.len(), 1, "the first call waits for the first lookup");
    for scaled in [&["10.0.0.1:1", "10.0.0.2:1"][..], &["10.0.0.3:1"]] {
        names.set(scaled);
        tokio::time::sleep(INTERVAL * 3 / 2).await;
        let addresses: Vec<String> =
            endpoints.all().iter().map(|endpoint| endpoint.address().to_string()).collect();
        assert_eq!(addresses, scaled);
    }
    names.set(&[]);
    tokio::time::sleep(INTERVAL * 3 / 2).await;
    assert_eq!(endpoints.all().len(), 1, "without a reply, the last addresses are kept");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_does_not_resolve_at_the_start_is_used_once_it_does() {
    let names = Names::default();
    let endpoints = names.endpoints("http://queue:1");
    let started = tokio::time::Instant::now();
    assert!(
        endpoints.up_first().await.is_empty() && started.elapsed().is_zero(),
        "waits for one lookup only"
    );
    names.set(&["10.0.0.1:1"]);
    tokio::time::sleep(INTERVAL).await;
    tokio::task::yield_now().await;
    assert_eq!(endpoints.up_first().await.len(), 1);
}

#[tokio::test]
async fn addresses_without_names_are_used_while_a_name_does_not_resolve() {
    let endpoints = Names::default().endpoints("http://127.0.0.1:1,http://queue:1");
    assert_eq!(ports(&endpoints.up_first().await), [1]);
}
