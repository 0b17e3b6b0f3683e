use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use super::*;
use crate::cache::redis_server::RedisServer;

const MINUTE: Duration = Duration::from_secs(60);
const KEY: &str = "search:math";

/// Waits for Redis however busy the machine is.
fn open(url: &str) -> RedisStorage {
    RedisStorage::new(url, Duration::from_secs(20)).unwrap()
}

fn key() -> [String; 1] {
    [KEY.to_owned()]
}

/// Repeats a lookup until Redis answers.
async fn look_up(storage: &RedisStorage) -> Lookup {
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        if let Ok(mut found) = storage.look_up(&key(), MINUTE).await {
            return found.pop().unwrap();
        }
        assert!(Instant::now() < give_up, "redis does not answer");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn several_processes_share_values_and_leases() {
    let server = RedisServer::start();
    let (one, other) = (open(&server.url()), open(&server.url()));
    let Lookup::Leased(token) = look_up(&one).await else { panic!("no lease") };
    assert!(matches!(look_up(&other).await, Lookup::Held(_)));
    other.delete(&key()).await.unwrap();
    assert_eq!(one.set(KEY, Bytes::from("1"), MINUTE, Some(&token)).await, Ok(false));
    let Lookup::Leased(token) = look_up(&other).await else { panic!("no lease") };
    assert_eq!(other.set(KEY, Bytes::from("2"), MINUTE, Some(&token)).await, Ok(true));
    assert_eq!(one.get(KEY).await, Ok(Some(Bytes::from("2"))));
}

#[tokio::test]
async fn a_restart_of_redis_ends_values_and_leases() {
    let mut server = RedisServer::start();
    let storage = open(&server.url());
    storage.set("stored", Bytes::from("1"), MINUTE, None).await.unwrap();
    let Lookup::Leased(before) = look_up(&storage).await else { panic!("no lease") };
    server.kill();
    let asked = Instant::now();
    assert_eq!(storage.get("stored").await, Err(Unavailable));
    assert_eq!(storage.delete(&key()).await, Err(Unavailable), "its caller repeats it");
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    server.start_again();
    let Lookup::Leased(after) = look_up(&storage).await else { panic!("the lease still exists") };
    assert_eq!(storage.set(KEY, Bytes::from("1"), MINUTE, Some(&before)).await, Ok(false));
    assert_eq!(storage.set(KEY, Bytes::from("2"), MINUTE, Some(&after)).await, Ok(true));
    assert_eq!(storage.get("stored").await, Ok(None));
}

#[tokio::test]
async fn a_snapshot_brings_no_deleted_value_back() {
    let mut server = RedisServer::start();
    let storage = open(&server.url());
    storage.set(KEY, Bytes::from("1"), MINUTE, None).await.unwrap();
    server.call("SAVE");
    storage.delete(&key()).await.unwrap();
    server.kill();
    server.start_again();
    assert_eq!(server.call("DBSIZE"), ":1", "the snapshot has the value");
    assert!(matches!(look_up(&storage).await, Lookup::Leased(_)));
    assert_eq!(storage.get(KEY).await, Ok(None));
}

#[tokio::test]
async fn a_redis_that_hangs_is_a_failure_within_a_second() {
    // Accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let storage =
        RedisStorage::new(&format!("redis://{}", silent.local_addr().unwrap()), Duration::from_millis(150))
            .unwrap();
    let asked = Instant::now();
    assert_eq!(storage.get(KEY).await, Err(Unavailable));
    assert!(!storage.is_ready().await);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}
