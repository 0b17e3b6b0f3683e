//! Traces with unusual times: asynchronous steps, and spans without a start.

use super::*;

const START: u64 = 1_795_455_811_000_000_000;

/// Returns a span of this kind from `start` to `end`, in milliseconds since the start of the trace.
fn timed(id: u64, parent: u64, kind: u8, [start, end]: [u64; 2]) -> Value {
    let ns = |ms: u64| (START + ms * 1_000_000).to_string();
    span(1, id, parent, json!({ "kind": kind, "startTimeUnixNano": ns(start), "endTimeUnixNano": ns(end) }))
}

/// Returns the row of a span.
fn row(page: &Page, id: u64) -> &str {
    page.html.split("<li id=\"s").find(|row| row.starts_with(&format!("{id:016x}"))).unwrap()
}

#[tokio::test]
async fn labels_the_time_that_a_message_waits_in_a_queue() {
    let browser = Browser::with("booking_service", json!([timed(1, 0, 2, [0, 20]), timed(2, 1, 4, [5, 15])]));
    browser.send("notification_service", json!([timed(3, 2, 5, [29_988, 30_000])]));
    let page = browser.get("/trace/1").await;
    let consumer = row(&page, 3);
    assert!(consumer.contains("waiting in queue: 30.0 s"), "{consumer}");
    assert!(consumer.contains("<rect class=\"gap\" x=\"0.05%\""), "{consumer}");
    assert!(row(&page, 1).contains("width=\"0.30%\""), "20 ms of 30 s are visible: {}", row(&page, 1));

    let shares = page.html.split("Where the time went").nth(1).unwrap().split("</section>").next().unwrap();
    let (awaited, apart) = shares.split_once("did not wait for them").unwrap();
    assert!(awaited.contains("booking_service") && !awaited.contains("notification_service"), "{awaited}");
    assert!(apart.contains("notification_service") && apart.contains("12.0 ms"), "{apart}");
    assert!(!page.has(">0 %<"));
}

#[tokio::test]
async fn labels_the_time_until_a_lease_expires() {
    let browser = Browser::with("booking_service", json!([timed(1, 0, 2, [0, 20]), timed(2, 1, 4, [5, 15])]));
    let mut deliveries = [timed(3, 2, 5, [16, 20]), timed(4, 2, 5, [30_016, 30_020])];
    deliveries.iter_mut().for_each(|delivery| delivery["name"] = "process notifications".into());
    browser.send("notification_service", json!(deliveries));
    let page = browser.get("/trace/1").await;
    let second = row(&page, 4);
    assert!(second.contains("lease expired, waiting for redelivery: 30.0 s"), "{second}");
}

#[tokio::test]
async fn attributes_the_time_to_the_same_hops_as_the_report() {
    let browser = Browser::with("shop", json!([timed(1, 0, 2, [0, 100]), timed(2, 1, 3, [10, 90])]));
    let mut query = timed(4, 3, 3, [30, 60]);
    query["attributes"] = attributes(&[("db.system.name", "postgresql")]);
    browser.send("cart", json!([timed(3, 2, 2, [20, 80]), query]));
    let page = browser.get("/trace/1").await;
    for hop in ["shop", "shop → cart", "cart", "database"] {
        assert!(page.has(&format!("<bdi>{hop}</bdi>")), "{hop}");
    }
    assert!(page.has("<span class=\"soft\">transit</span> <strong>20 %</strong>"));
}

#[tokio::test]
async fn times_that_no_clock_shows_do_not_stretch_the_axis() {
    let mut late_end = timed(2, 1, 1, [1, 2]);
    late_end["endTimeUnixNano"] = u64::MAX.to_string().into();
    let mut late_start = timed(3, 1, 1, [1, 2]);
    late_start["startTimeUnixNano"] = u64::MAX.to_string().into();
    let mut no_start = timed(4, 1, 1, [1, 2]);
    no_start["startTimeUnixNano"] = "0".into();
    let browser = Browser::with("shop", json!([timed(1, 0, 2, [0, 20]), late_end, late_start, no_start]));
    let page = browser.get("/trace/1").await;
    assert!(page.has("<strong>20.0 ms</strong>"), "the duration of the trace is that of its root");
    assert!(row(&page, 1).contains("width=\"100.00%\""), "{}", row(&page, 1));
    for id in 2..=4 {
        assert!(!row(&page, id).contains(" h "), "{}", row(&page, id));
    }
    assert!(browser.get("/").await.has("20.0 ms"), "in the list of traces");
    let hops = browser.ingest.hops(false);
    let slowest = hops.iter().map(|hop| hop.latency_us.max).fold(0.0, f64::max);
    assert!(slowest < 25_000.0, "{slowest} µs in the histograms");
}

#[tokio::test]
async fn a_span_without_a_start_does_not_stretch_the_axis_to_1970() {
    let browser = Browser::new(64 << 20, "");
    let file = include_str!("../../../tests/cases/81a-start-zero.json");
    let document: Value = serde_json::from_str(file).unwrap();
    let crate::UiTrace(trace) = serde_json::from_value(document["data"][0].clone()).unwrap();
    let message = crate::otlp::to_json_line(&trace).unwrap();
    let (message, _) = crate::otlp::json_to_protobuf(message.as_bytes()).unwrap();
    browser.ingest.accept(&message, Transport::Http).unwrap();
    let page = browser.get(&format!("/trace/{}", trace.id().unwrap())).await;
    assert!(page.has("<strong>1.50 ms</strong>"), "the duration of the trace is that of its first span");
    assert!(page.has("2026-11-26") && !page.has("1970"), "no time is in 1970");
    let unset = row(&page, 2);
    assert!(unset.contains("no start time") && !unset.contains("class=\"bar"), "{unset}");
    assert!(row(&page, 1).contains("width=\"100.00%\""), "{}", row(&page, 1));
    assert!(browser.get("/").await.has("1.50 ms"), "in the list of traces");
}
