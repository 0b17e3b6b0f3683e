//! The original's walkthrough, in its eleven steps, over real processes and read from their log lines.

use crate::harness::{Stack, comes_right, eventually};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

/// The log lines of one process.
struct Log<'a> {
    stack: &'a Stack,
    role: &'static str,
}

impl Log<'_> {
    fn lines(&self) -> Vec<Value> {
        self.stack
            .log(self.role)
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line is JSON"))
            .collect()
    }

    fn with(&self, message: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["message"] == message).collect()
    }

    /// The `status` of each line with that message, in order.
    fn statuses(&self, message: &str) -> Vec<u64> {
        self.with(message).iter().map(|line| line["status"].as_u64().unwrap()).collect()
    }
}

async fn search(client: &Client, stack: &Stack, token: &str) -> Value {
    let url = format!("{}/search?subject=Math", stack.addresses.balancer);
    let reply = client.get(url).bearer_auth(token).send().await.unwrap();
    assert_eq!(reply.status(), StatusCode::OK);
    reply.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_eleven_steps() {
    // With the original's two tutors, so that a search finds what it found there.
    let stack = Stack::start_with(|command| {
        command.args(["--tutors", "2", "--students", "2"]);
    });
    let log = |role| Log { stack: &stack, role };
    let client = Client::new();
    let api = &stack.addresses.balancer;

    // 1. The page is there.
    let page = client.get(&stack.addresses.frontend).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    assert!(page.text().await.unwrap().contains("<html"));

    // 2. Without logging in, a search is refused.
    let refused = client.get(format!("{api}/search?subject=Math")).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);

    // 3. Log in.
    let form = [("username", "student1"), ("password", "password")];
    let reply = client.post(format!("{api}/token")).form(&form).send().await.unwrap();
    assert_eq!(reply.status(), StatusCode::OK);
    let token: Value = reply.json().await.unwrap();
    assert_eq!(token["token_type"], "bearer");
    let token = token["access_token"].as_str().unwrap();

    // 4. The first search is not cached.
    let alice = json!([{ "id": 1, "name": "Alice", "subject": "Math", "rating": 4.9 }]);
    assert_eq!(search(&client, &stack, token).await, json!({ "cached": false, "data": alice }));

    // 5. The second one is.
    assert_eq!(search(&client, &stack, token).await, json!({ "cached": true, "data": alice }));

    // 6. The balancer sent half of the requests to each gateway, in turn.
    let upstreams = || -> Vec<String> {
        let forwarded =
            log("load_balancer").lines().into_iter().filter(|line| line.get("upstream").is_some());
        forwarded
            .filter(|line| line.get("duration_us").is_some())
            .map(|line| line["upstream"].as_str().unwrap().to_owned())
            .collect()
    };
    eventually("the balancer logged four requests", || upstreams().len() == 4);
    assert_eq!(upstreams(), ["api_gateway_1", "api_gateway_2", "api_gateway_1", "api_gateway_2"]);

    // 7. The cache missed once, was told, and then answered.
    let cache = log("cache");
    eventually("the cache answered", || cache.statuses("GET /get/search%3AMath").len() == 2);
    assert_eq!(cache.statuses("GET /get/search%3AMath"), [404, 200]);
    assert_eq!(cache.statuses("POST /set/search%3AMath"), [200]);

    // 8. The search service was asked once.
    assert_eq!(log("search_service").statuses("GET /search"), [200]);

    // 9. The notification service waits at the queue, and finds nothing yet.
    let queue = log("queue");
    eventually("an empty poll", || queue.statuses("dequeue").contains(&404));
    assert_eq!(queue.with("enqueue").len(), 0);

    // 10. Book; numbers as strings, as the original's page sends them.
    let booking = json!({ "student_id": "1", "tutor_id": "1" });
    let reply = client.post(format!("{api}/book")).bearer_auth(token).json(&booking).send().await.unwrap();
    assert_eq!(reply.status(), StatusCode::OK);
    let booked: Value = reply.json().await.unwrap();
    assert_eq!(
        (&booked["status"], &booked["student_id"], &booked["tutor_id"]),
        (&json!("success"), &json!(1), &json!(1))
    );
    let found = |lines: &[Value]| lines.iter().filter(|line| line["status"] == 200).count();
    eventually("the task was handed out", || found(&queue.with("dequeue")) > 0);
    assert_eq!((queue.with("enqueue").len(), found(&queue.with("dequeue"))), (1, 1));

    // 11. The notification went to student 1 and tutor 1, and its lines belong to the booking's trace.
    let notification = log("notification_service");
    eventually("the notification was sent", || !notification.with("notification sent").is_empty());
    let sent = notification.with("notification sent");
    assert_eq!(sent.len(), 1);
    assert_eq!((&sent[0]["student_id"], &sent[0]["tutor_id"]), (&json!(1), &json!(1)));
    assert_eq!(sent[0]["booking_id"], booked["booking_id"]);
    let enqueued = &queue.with("enqueue")[0];
    assert!(enqueued["trace_id"].is_string(), "{enqueued}");
    assert_eq!(sent[0]["trace_id"], enqueued["trace_id"]);
    the_trace_runs_to_the_notification(&client, &stack, enqueued["trace_id"].as_str().unwrap()).await;
}

/// The collector holds the booking's trace, from the balancer to the notification.
async fn the_trace_runs_to_the_notification(client: &Client, stack: &Stack, trace_id: &str) {
    let url = format!("{}/api/traces/{trace_id}", stack.addresses.collector);
    let expected = ["api_gateway", "booking_service", "load_balancer", "notification_service", "queue"]
        .map(str::to_owned);
    comes_right(async || {
        let reply: Value = client.get(&url).send().await.unwrap().json().await.unwrap();
        let services = services_of(&reply);
        (services != expected).then(|| format!("the trace has spans of {services:?} only"))
    })
    .await;
}

fn services_of(reply: &Value) -> Vec<String> {
    let processes = reply["data"][0]["processes"].as_object();
    let names = processes.into_iter().flat_map(|processes| processes.values());
    let mut names: Vec<String> =
        names.map(|process| process["serviceName"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names.dedup();
    names
}
