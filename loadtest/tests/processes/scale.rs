//! `up --scale`: several processes of a role share its work; several stores without a common storage are refused.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{Api, Stack, Store, eventually, eventually_without, http, run, workbench};

#[tokio::test(flavor = "multi_thread")]
async fn the_processes_of_each_role_share_its_work() {
    let stack = Stack::start_with(|up| {
        up.args(["--scale", "gateway=4", "--scale", "booking=2", "--scale", "notification=2"]);
        up.args(["--scale", "search=2", "--tutors", "2", "--students", "2"]);
    });
    assert_eq!(stack.addresses.gateways.len(), 4);
    let notification = &stack.printed["notification"];
    assert_eq!(notification.as_array().map(Vec::len), Some(2), "{notification}");
    assert!(stack.printed["queue"].is_string(), "{}", stack.printed["queue"]);
    let processes = stack.processes();
    let of = |role: &str| -> Vec<&str> {
        let of_role = processes.iter().filter(|(_, process)| process.role == role);
        of_role.map(|(name, _)| name.as_str()).collect()
    };
    assert_eq!(of("gateway"), ["api_gateway_1", "api_gateway_2", "api_gateway_3", "api_gateway_4"]);
    assert_eq!(of("booking"), ["booking_service", "booking_service_2"]);
    assert_eq!(of("search"), ["search_service", "search_service_2"]);
    assert_eq!(of("notification"), ["notification_service", "notification_service_2"]);
    let ports: BTreeSet<u16> = processes.values().filter_map(|process| process.port).collect();
    assert_eq!(ports.len(), processes.len() - 1, "each but the keeper has a port: {processes:?}");

    let api = Api::log_in(&stack).await;
    let mut served_by = BTreeSet::new();
    let mut bookings = Vec::new();
    for _ in 0..24 {
        let reply = api.book(r#"{"student_id":1,"tutor_id":1}"#).send().await.unwrap();
        assert_eq!(reply.status(), 200);
        served_by.insert(reply.headers()["x-served-by"].to_str().unwrap().to_owned());
        bookings.push(reply.json::<Value>().await.unwrap()["booking_id"].as_i64().unwrap());
    }
    assert_eq!(served_by.iter().map(String::as_str).collect::<Vec<_>>(), of("gateway"));
    for instance in of("booking") {
        assert!(!stack.log_lines_with(instance, "POST /book").is_empty(), "{instance} stored no booking");
    }
    let sent = |instance: &&str| stack.log_lines_with(instance, "notification sent").len();
    let notifiers = of("notification");
    let database = PgPool::connect(&stack.addresses.database_url).await.unwrap();
    let sql = "SELECT count(DISTINCT booking_id) FROM notifications WHERE booking_id = ANY($1)";
    eventually_without(async || {
        let recorded: i64 = sqlx::query_scalar(sql).bind(&bookings).fetch_one(&database).await.unwrap();
        (recorded != 24).then(|| format!("{recorded} of 24 bookings are notified"))
    })
    .await;
    assert!(notifiers.iter().all(|instance| sent(instance) > 0), "one process sent every notification");
    assert_eq!(stack.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_caches_share_the_values_of_one_redis() {
    let redis = Store::redis();
    let stack = Stack::start_with(|up| {
        up.args(["--scale", "cache=2", "--tutors", "2", "--students", "2"]);
        // A flag or its variable.
        up.env("CACHE_BACKEND", format!("redis://{}", redis.address));
    });
    let url = |instance: &str, path: &str| {
        format!("http://127.0.0.1:{}{path}", stack.processes()[instance].port.unwrap())
    };
    // With a storage each, the second cache would never have the value.
    let set = http().post(url("cache", "/set/shared")).json(&json!({ "value": "1" })).send().await.unwrap();
    assert!(set.status().is_success(), "{set:?}");
    eventually_without(|| status_is(url("cache_2", "/get/shared"), 200)).await;
    let keys = json!({ "keys": ["shared"] });
    let deleted = http().post(url("cache_2", "/delete")).json(&keys).send().await.unwrap();
    assert!(deleted.status().is_success(), "{deleted:?}");
    eventually_without(|| status_is(url("cache", "/get/shared"), 404)).await;

    let api = Api::log_in(&stack).await;
    for _ in 0..8 {
        let reply = api.request(Method::GET, "/search?subject=Math").send().await.unwrap();
        assert_eq!(reply.status(), 200);
    }
    for instance in ["cache", "cache_2"] {
        let log = stack.log(instance);
        assert!(log.contains("GET /get/search"), "no gateway called {instance}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_queues_serve_the_tasks_of_one_nats() {
    let nats = Store::nats();
    let stack = Stack::start_with(|up| {
        up.args(["--scale", "queue=2", "--queue-backend", &format!("nats://{}", nats.address)]);
        up.args(["--tutors", "2", "--students", "2"]);
    });
    let api = Api::log_in(&stack).await;
    for _ in 0..8 {
        let reply = api.book(r#"{"student_id":1,"tutor_id":1}"#).send().await.unwrap();
        assert_eq!(reply.status(), 200, "{:?}", reply.text().await);
    }
    eventually("every booking is notified", || {
        stack.log_lines_with("notification_service", "notification sent").len() >= 8
    });
    for instance in ["queue", "queue_2"] {
        eventually(&format!("{instance} leases tasks"), || {
            !stack.log_lines_with(instance, "POST /lease").is_empty()
        });
    }
}

/// The status of a GET, if it is another one.
async fn status_is(url: String, expected: u16) -> Option<String> {
    let reply = http().get(&url).send().await.unwrap();
    (reply.status() != expected).then(|| format!("{url}: {}", reply.status()))
}

#[test]
fn one_gateway_is_enough() {
    let stack = Stack::start_with(|up| {
        up.args(["--scale", "gateway=1", "--tutors", "2", "--students", "2"]);
    });
    assert_eq!(stack.addresses.gateways.len(), 1);
    assert!(!stack.processes().contains_key("api_gateway_2"));
}

#[test]
fn several_stores_without_a_storage_that_they_share_are_refused() {
    for (scale, message) in [
        ("queue=2", "set QUEUE_BACKEND=nats://HOST:PORT (--queue-backend), or use --scale queue=1"),
        ("cache=3", "set CACHE_BACKEND=redis://HOST:PORT (--cache-backend), or use --scale cache=1"),
    ] {
        for command in [&["up", "--free-ports"][..], &["demo"]] {
            refused(&[command, &["--scale", scale]].concat(), message);
        }
    }
    let memory = ["up", "--free-ports", "--scale", "queue=2", "--queue-backend", "memory"];
    refused(&memory, "2 queue processes need a storage that they share");
}

#[test]
fn a_scale_that_cannot_be_is_refused() {
    for (scale, message) in [
        ("gateway", "expected ROLE=N, such as gateway=4"),
        ("gateway=0", "expected a number of processes from 1 to 16"),
        ("gateway=17", "expected a number of processes from 1 to 16"),
        ("balancer=2", "a stack has one balancer; the roles to scale are gateway, cache"),
        ("kitchen=2", "unknown role 'kitchen': expected one of gateway, cache"),
    ] {
        refused(&["up", "--free-ports", "--scale", scale], message);
    }
}

/// Asserts that the command is refused. Without a PostgreSQL, one that is not refused ends as well.
fn refused(arguments: &[&str], message: &str) {
    run(workbench().args(arguments).args(["--postgres-bin", "/nonexistent"])).failed(2, message);
}
