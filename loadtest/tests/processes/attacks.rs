//! Hostile requests and mistakes: large headers, floods, a password in the field of the user name.

use futures::StreamExt as _;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::harness::{Api, Stack, eventually_without, http};

/// The value of an attribute of the first SERVER span of `service` in a trace of Jaeger's API.
fn attribute<'a>(trace: &'a Value, service: &str, key: &str) -> Option<&'a str> {
    let trace = &trace["data"][0];
    let of_service = |span: &&Value| {
        let process = span["processID"].as_str().unwrap();
        trace["processes"][process]["serviceName"] == service
            && span["tags"].as_array().unwrap().iter().any(|tag| tag["value"] == "server")
    };
    let span = trace["spans"].as_array()?.iter().find(of_service)?;
    span["tags"].as_array()?.iter().find(|tag| tag["key"] == key)?["value"].as_str()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_user_agent_is_cut_in_the_spans_and_a_larger_one_is_refused() {
    let stack = Stack::start_small();
    let api = Api::log_in(&stack).await;
    let refused = api.request(Method::GET, "/search?subject=Math").header("user-agent", "u".repeat(380_000));
    assert_eq!(refused.send().await.unwrap().status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);

    let accepted = api.request(Method::GET, "/search?subject=Math").header("user-agent", "u".repeat(50_000));
    let reply = accepted.send().await.unwrap();
    assert_eq!(reply.status(), StatusCode::OK);
    let trace_id = reply.headers()["traceresponse"].to_str().unwrap().split('-').nth(1).unwrap().to_owned();
    let url = format!("{}/api/traces/{trace_id}", stack.addresses.collector);
    eventually_without(|| async {
        let trace: Value = http().get(&url).send().await.unwrap().json().await.unwrap();
        let agents = ["load_balancer", "api_gateway"]
            .map(|service| attribute(&trace, service, "user_agent.original").map(str::len));
        (agents != [Some(256), Some(256)]).then(|| format!("lengths of the user agents: {agents:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_typed_as_user_name_is_in_no_log_and_no_span() {
    let stack = Stack::start_small();
    let api = Api::log_in(&stack).await;
    let form = [("username", "correct-horse-battery"), ("password", "student1")];
    let reply = api.anonymous(Method::POST, "/token").form(&form).send().await.unwrap();
    assert_eq!(reply.status(), StatusCode::UNAUTHORIZED);
    let trace_id = reply.headers()["traceresponse"].to_str().unwrap().split('-').nth(1).unwrap().to_owned();
    let url = format!("{}/api/traces/{trace_id}", stack.addresses.collector);
    eventually_without(|| async {
        let trace = http().get(&url).send().await.unwrap().text().await.unwrap();
        assert!(!trace.contains("correct-horse"), "{trace}");
        (!trace.contains("SELECT users")).then(|| format!("the trace is not complete: {trace}"))
    })
    .await;
    for role in ["load_balancer", "api_gateway_1", "api_gateway_2", "booking_service"] {
        assert!(!stack.log(role).contains("correct-horse"), "the log of {role}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_in_the_query_of_a_log_in_are_in_no_log_and_no_span() {
    let stack = Stack::start_small();
    let api = Api::log_in(&stack).await;
    let path = "/token?username=correct-horse&password=battery-staple";
    let reply = api.anonymous(Method::POST, path).send().await.unwrap();
    assert!(reply.status().is_client_error(), "{}", reply.status());
    let trace_id = reply.headers()["traceresponse"].to_str().unwrap().split('-').nth(1).unwrap().to_owned();
    let url = format!("{}/api/traces/{trace_id}", stack.addresses.collector);
    eventually_without(|| async {
        let trace = http().get(&url).send().await.unwrap().text().await.unwrap();
        assert!(!trace.contains("correct-horse") && !trace.contains("battery-staple"), "{trace}");
        let has_all = trace.contains("load_balancer") && trace.contains("api_gateway");
        (!has_all || !trace.contains("url.full")).then(|| format!("the trace is not complete: {trace}"))
    })
    .await;
    for role in ["load_balancer", "api_gateway_1", "api_gateway_2"] {
        assert!(!stack.log(role).contains("correct-horse"), "the log of {role}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unknown_paths_is_counted_and_not_logged_line_by_line() {
    let stack = Stack::start_small();
    let api = Api::log_in(&stack).await;
    let flood = (0..1000).map(|n| api.anonymous(Method::GET, &format!("/unknown/{n}")).send());
    let mut replies = futures::stream::iter(flood).buffer_unordered(20);
    while let Some(reply) = replies.next().await {
        assert_eq!(reply.unwrap().status(), StatusCode::NOT_FOUND);
    }
    let logged = stack.log("load_balancer").lines().filter(|line| line.contains("/unknown/")).count();
    // 50 in each second that the flood lasted, and it cannot have lasted 15 s.
    assert!((50..=750).contains(&logged), "{logged} lines");
    let metrics = http().get(format!("{}/metrics", stack.addresses.balancer)).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let counted = metrics.lines().any(|line| {
        line.starts_with("http_server_request_duration_seconds_count")
            && line.contains("\"404\"")
            && line.ends_with(" 1000")
    });
    assert!(counted, "{metrics}");
}
