//! One suite for every storage.

use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::*;
use crate::cache::memory::MemoryStorage;
use crate::cache::redis_server::RedisServer;
use crate::cache::redis_storage::RedisStorage;

const MINUTE: Duration = Duration::from_secs(60);

macro_rules! suite {
    ($($test:ident)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(super::MemoryStorage::new(1 << 20)).await;
            })*
        }
        mod redis {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let server = super::RedisServer::start();
                super::$test(super::RedisStorage::new(&server.url(), super::MINUTE).unwrap()).await;
            })*
        }
    };
}

suite! {
    a_value_is_returned_until_its_time_to_live_ends
    a_miss_gives_one_caller_the_lease
    a_lease_expires_and_its_value_is_refused
    a_value_is_stored_with_its_lease_once
    a_fill_that_began_before_a_delete_is_not_stored
    a_delete_removes_only_its_keys
    a_value_without_a_lease_ends_the_lease
    of_many_concurrent_misses_one_gets_the_lease
    no_value_survives_a_delete_that_races_with_its_fill
}

fn value(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

async fn look_up(storage: &impl Storage, key: &str, lease: Duration) -> Lookup {
    storage.look_up(&[key.to_owned()], lease).await.unwrap().pop().unwrap()
}

async fn lease(storage: &impl Storage, key: &str) -> String {
    match look_up(storage, key, MINUTE).await {
        Lookup::Leased(token) => token,
        other => panic!("no lease: {other:?}"),
    }
}

async fn delete(storage: &impl Storage, keys: &[&str]) {
    storage.delete(&keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>()).await.unwrap();
}

/// Repeats `attempt` until it returns a value.
async fn eventually<T>(mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(Instant::now() < give_up, "the condition did not become true");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn a_value_is_returned_until_its_time_to_live_ends(storage: impl Storage) {
    assert_eq!(storage.get("k").await, Ok(None));
    assert_eq!(storage.set("k", value("[1]"), Duration::from_millis(300), None).await, Ok(true));
    assert_eq!(storage.get("k").await, Ok(Some(value("[1]"))));
    assert_eq!(look_up(&storage, "k", MINUTE).await, Lookup::Value(value("[1]")));
    eventually(async || storage.get("k").await.unwrap().is_none().then_some(())).await;
    assert_eq!(storage.set("k", value("[2]"), Duration::ZERO, None).await, Ok(true));
    assert_eq!(storage.get("k").await, Ok(None));
}

async fn a_miss_gives_one_caller_the_lease(storage: impl Storage) {
    lease(&storage, "k").await;
    let Lookup::Held(left) = look_up(&storage, "k", MINUTE).await else { panic!("not held") };
    assert!(left <= MINUTE && left > MINUTE / 2, "{left:?}");
    let both = storage.look_up(&["k".to_owned(), "other".to_owned()], MINUTE).await.unwrap();
    assert!(matches!(both[..], [Lookup::Held(_), Lookup::Leased(_)]), "{both:?}");
}

async fn a_lease_expires_and_its_value_is_refused(storage: impl Storage) {
    let short = Duration::from_millis(50);
    let Lookup::Leased(first) = look_up(&storage, "k", short).await else { panic!("no lease") };
    let second = eventually(async || match look_up(&storage, "k", MINUTE).await {
        Lookup::Leased(token) => Some(token),
        _ => None,
    });
    assert_ne!(second.await, first);
    assert_eq!(storage.set("k", value("1"), MINUTE, Some(&first)).await, Ok(false));
    assert_eq!(storage.get("k").await, Ok(None));
}

async fn a_value_is_stored_with_its_lease_once(storage: impl Storage) {
    let token = lease(&storage, "k").await;
    assert_eq!(storage.set("k", value("0"), MINUTE, Some("")).await, Ok(false), "another token");
    assert_eq!(storage.set("k", value("1"), MINUTE, Some(&token)).await, Ok(true));
    assert_eq!(look_up(&storage, "k", MINUTE).await, Lookup::Value(value("1")));
    assert_eq!(storage.set("k", value("2"), MINUTE, Some(&token)).await, Ok(false));
    assert_eq!(storage.get("k").await, Ok(Some(value("1"))));
}

async fn a_fill_that_began_before_a_delete_is_not_stored(storage: impl Storage) {
    let before = lease(&storage, "k").await;
    delete(&storage, &["k"]).await;
    assert_eq!(storage.set("k", value("\"stale\""), MINUTE, Some(&before)).await, Ok(false));
    assert_eq!(storage.get("k").await, Ok(None));
    let after = lease(&storage, "k").await;
    assert_eq!(storage.set("k", value("\"stale\""), MINUTE, Some(&before)).await, Ok(false));
    assert_eq!(storage.set("k", value("\"fresh\""), MINUTE, Some(&after)).await, Ok(true));
    assert_eq!(storage.get("k").await, Ok(Some(value("\"fresh\""))));
}

async fn a_delete_removes_only_its_keys(storage: impl Storage) {
    for key in ["a", "b", "c"] {
        storage.set(key, value("1"), MINUTE, None).await.unwrap();
    }
    delete(&storage, &["a", "unknown", "c"]).await;
    assert_eq!(storage.get("a").await, Ok(None));
    assert_eq!(storage.get("b").await, Ok(Some(value("1"))));
    assert_eq!(storage.get("c").await, Ok(None));
    delete(&storage, &[]).await;
}

async fn a_value_without_a_lease_ends_the_lease(storage: impl Storage) {
    let token = lease(&storage, "k").await;
    storage.set("k", value("\"newer\""), MINUTE, None).await.unwrap();
    assert_eq!(storage.set("k", value("\"older\""), MINUTE, Some(&token)).await, Ok(false));
    assert_eq!(storage.get("k").await, Ok(Some(value("\"newer\""))));
}

async fn of_many_concurrent_misses_one_gets_the_lease(storage: impl Storage) {
    let found = join_all((0..200).map(|_| look_up(&storage, "k", MINUTE))).await;
    let leases = found.iter().filter(|lookup| matches!(lookup, Lookup::Leased(_))).count();
    let held = found.iter().filter(|lookup| matches!(lookup, Lookup::Held(_))).count();
    assert_eq!((leases, held), (1, 199));
}

/// If the value is stored first, the delete removes it; if the delete is first, the value is refused.
async fn no_value_survives_a_delete_that_races_with_its_fill(storage: impl Storage) {
    let storage = std::sync::Arc::new(storage);
    let mut stored = 0;
    for _ in 0..300 {
        let token = lease(&*storage, "k").await;
        let filler = std::sync::Arc::clone(&storage);
        let fill =
            tokio::spawn(async move { filler.set("k", value("1"), MINUTE, Some(&token)).await.unwrap() });
        let deleter = std::sync::Arc::clone(&storage);
        let delete = tokio::spawn(async move { delete(&*deleter, &["k"]).await });
        stored += u32::from(fill.await.unwrap());
        delete.await.unwrap();
        assert_eq!(storage.get("k").await, Ok(None));
    }
    println!("{stored} of 300 fills came before the delete");
}
