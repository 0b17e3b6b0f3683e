//! The walkthrough of the original system in eleven steps, over real processes, checked by their log lines.

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Stack, eventually, eventually_without, http};

/// The `status` of each of these lines, in order.
fn statuses(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["status"].as_u64().unwrap()).collect()
}

async fn search(client: &Client, stack: &Stack, token: &str) -> Value {
    let url = format!("{}/search?subject=Math", stack.addresses.balancer);
    let reply = client.get(url).bearer_auth(token).send().await.unwrap();
    assert_eq!(reply.status(), StatusCode::OK);
    reply.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn eleven_steps_of_the_original() {
    let stack = Stack::start_small();
    let log = |instance: &str, message: &str| stack.log_lines_with(instance, message);
    let client = http();
    let api = &stack.addresses.balancer;

    // 1. Open the page.
    let page = client.get(&stack.addresses.frontend).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    assert!(page.text().await.unwrap().contains("<html"));

    // 2. A search without a token is refused.
    let refused = client.get(format!("{api}/search?subject=Math")).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);

    // 3. Log in.
    let form = [("username", "student1"), ("password", "password")];
    let reply = client.post(format!("{api}/token")).form(&form).send().await.unwrap();
    assert_eq!(reply.status(), StatusCode::OK);
    let token: Value = reply.json().await.unwrap();
    assert_eq!(token["token_type"], "bearer");
    let token = token["access_token"].as_str().unwrap();

    // 4. The first search misses the cache.
    let alice = json!([{ "id": 1, "name": "Alice", "subject": "Math", "rating": 4.9 }]);
    assert_eq!(search(&client, &stack, token).await, json!({ "cached": false, "data": alice }));

    // 5. The second search hits the cache.
    assert_eq!(search(&client, &stack, token).await, json!({ "cached": true, "data": alice }));

    // 6. The balancer sent the requests to the two gateways in turn.
    let upstreams = || -> Vec<String> {
        let lines = stack.log_lines("load_balancer").into_iter();
        let forwarded =
            lines.filter(|line| line.get("upstream").is_some() && line.get("duration_us").is_some());
        forwarded.map(|line| line["upstream"].as_str().unwrap().to_owned()).collect()
    };
    eventually("the balancer logged four requests", || upstreams().len() == 4);
    assert_eq!(upstreams(), ["api_gateway_1", "api_gateway_2", "api_gateway_1", "api_gateway_2"]);

    // 7. The cache logged a miss, a write and a hit.
    let reads = || statuses(&log("cache", "GET /get/search%3Amath"));
    eventually("the cache logged two reads", || reads().len() == 2);
    assert_eq!(reads(), [404, 200]);
    assert_eq!(statuses(&log("cache", "POST /set/search%3Amath")), [200]);

    // 8. The search service received one request.
    assert_eq!(statuses(&log("search_service", "GET /search")), [200]);

    // 9. The notification service polls the queue, which is empty.
    let is_empty = |poll: &Value| poll["tasks"] == json!([]);
    eventually("an empty poll", || log("queue", "POST /lease").iter().any(is_empty));
    assert_eq!(log("queue", "POST /enqueue").len(), 0);

    // 10. Book. The page of the original sends numbers as strings.
    let booking = json!({ "student_id": "1", "tutor_id": "1" });
    let reply = client.post(format!("{api}/book")).bearer_auth(token).json(&booking).send().await.unwrap();
    assert_eq!(reply.status(), StatusCode::OK);
    let booked: Value = reply.json().await.unwrap();
    assert_eq!(
        (&booked["status"], &booked["student_id"], &booked["tutor_id"]),
        (&json!("success"), &json!(1), &json!(1))
    );
    let leased = || leased_tasks(&log("queue", "POST /lease"));
    eventually("the task was leased", || !leased().is_empty());
    let (enqueued, leased) = (log("queue", "POST /enqueue"), leased());
    assert_eq!((enqueued.len(), leased.len()), (1, 1));
    assert_eq!(leased[0]["task_id"], enqueued[0]["task_id"]);
    assert_eq!(leased[0]["trace_id"], enqueued[0]["trace_id"]);

    // 11. The notification was sent to student 1 and tutor 1, in the trace of the booking.
    let notifications = || log("notification_service", "notification sent");
    eventually("the notification was sent", || !notifications().is_empty());
    let sent = notifications();
    assert_eq!(sent.len(), 1);
    assert_eq!((&sent[0]["student_id"], &sent[0]["tutor_id"]), (&json!(1), &json!(1)));
    assert_eq!(sent[0]["booking_id"], booked["booking_id"]);
    let enqueued = &enqueued[0];
    assert!(enqueued["trace_id"].is_string(), "{enqueued}");
    assert_eq!(sent[0]["trace_id"], enqueued["trace_id"]);
    trace_reaches_the_notification(&client, &stack, enqueued["trace_id"].as_str().unwrap()).await;
}

/// The tasks in the log lines of these polls.
fn leased_tasks(polls: &[Value]) -> Vec<Value> {
    polls.iter().flat_map(|poll| poll["tasks"].as_array().unwrap().clone()).collect()
}

/// Waits until the collector has the booking's trace from the balancer to the notification, with the time in the outbox.
async fn trace_reaches_the_notification(client: &Client, stack: &Stack, trace_id: &str) {
    let url = format!("{}/api/traces/{trace_id}", stack.addresses.collector);
    let expected =
        ["api_gateway", "booking_service", "cache", "load_balancer", "notification_service", "queue"]
            .map(str::to_owned);
    eventually_without(|| async {
        let reply: Value = client.get(&url).send().await.unwrap().json().await.unwrap();
        let services = services_of(&reply);
        let waits = reply["data"][0]["spans"].as_array().into_iter().flatten();
        let waits = waits.filter(|span| span["operationName"] == "wait outbox").count();
        // One for the notification, one for the deletion of the cached slots.
        let is_complete = services == expected && waits == 2;
        (!is_complete).then(|| format!("the trace has {waits} waits, and spans of {services:?}"))
    })
    .await;
}

/// The services of the first trace of a reply, sorted.
fn services_of(reply: &Value) -> Vec<String> {
    let processes = reply["data"][0]["processes"].as_object();
    let names = processes.into_iter().flat_map(|processes| processes.values());
    let mut names: Vec<String> =
        names.map(|process| process["serviceName"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names.dedup();
    names
}
