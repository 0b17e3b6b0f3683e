//! How long a cached list of slots is stale after a booking or a cancellation.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Api, Stack, eventually, eventually_without, free_address};

const BOOKINGS: usize = 10;

/// The starts of the free slots of tutor 1 in the coming week.
async fn free(api: &Api) -> Vec<String> {
    let reply = api.request(Method::GET, "/tutors/1/slots").send().await.unwrap();
    let slots: Value = reply.error_for_status().unwrap().json().await.unwrap();
    let slots = slots["slots"].as_array().unwrap();
    slots.iter().map(|slot| slot["starts_at"].as_str().unwrap().to_owned()).collect()
}

/// Waits until the slot is free, or until it is not, as often as there are gateways, and returns how long that took.
async fn time_until(api: &Api, slot: &str, is_free: bool) -> Duration {
    let (start, slot) = (Instant::now(), slot.to_owned());
    eventually_without(|| async {
        let (one, other) = (free(api).await, free(api).await);
        let as_expected = [one, other].iter().all(|free| free.contains(&slot) == is_free);
        (!as_expected).then(|| format!("{slot}: expected free = {is_free}"))
    })
    .await;
    start.elapsed()
}

/// Books and cancels while the slots are cached. Their time to live is an hour, so only a delete removes them in time.
async fn slots_follow_bookings(stack: &Stack, storage: &str) {
    let api = Api::log_in(stack).await;
    let (mut gone, mut back) = (Vec::new(), Vec::new());
    for _ in 0..BOOKINGS {
        let slot = free(&api).await.swap_remove(0);
        let body = json!({ "student_id": 1, "tutor_id": 1, "starts_at": slot }).to_string();
        let booked: Value = api.book(body).send().await.unwrap().json().await.unwrap();
        assert_eq!(booked["status"], "success", "{booked}");
        gone.push(time_until(&api, &slot, false).await);
        let path = format!("/bookings/{}", booked["booking_id"]);
        let cancelled = api.request(Method::DELETE, &path).send().await.unwrap();
        assert_eq!(cancelled.status(), 200);
        back.push(time_until(&api, &slot, true).await);
    }
    for (what, mut times) in [("a booking", gone), ("a cancellation", back)] {
        times.sort();
        let (median, max) = (times[BOOKINGS / 2], times[BOOKINGS - 1]);
        println!("{storage}: slots follow {what} after {median:?} (median), {max:?} (maximum of {BOOKINGS})");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_slots_follow_bookings_and_cancellations() {
    let stack = Stack::start_with(|up| {
        up.args(["--tutors", "2", "--students", "2"]).env("SLOTS_CACHE_TTL_SECONDS", "3600");
    });
    slots_follow_bookings(&stack, "in memory").await;
}

/// A `redis-server`, killed when dropped.
struct Redis(Child);

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_caches_on_one_redis_follow_bookings_and_cancellations() {
    let address = free_address();
    let mut server = Command::new("redis-server");
    server.args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--save", ""]);
    let _redis = Redis(server.stdout(Stdio::null()).spawn().expect("redis-server is installed"));
    eventually("redis-server listens", || TcpStream::connect(address).is_ok());
    let stack = Stack::start_with(|up| {
        up.args(["--tutors", "2", "--students", "2", "--scale", "cache=2"]);
        up.args(["--cache-backend", &format!("redis://{address}")]).env("SLOTS_CACHE_TTL_SECONDS", "3600");
    });
    slots_follow_bookings(&stack, "on Redis").await;
}
