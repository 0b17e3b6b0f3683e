#![allow(clippy::needless_pass_by_value, reason = "test helpers are shorter to call with values")]

mod length;
mod links;
mod search;
mod times;

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::ingest::Transport;

const HOSTILE: &str = "\"'></textarea></title><script>alert(1)</script><img src=x onerror=alert(1)>";

struct Browser {
    ingest: Arc<Ingest>,
    router: Router,
}

struct Page {
    status: u16,
    headers: HeaderMap,
    html: String,
}

impl Browser {
    fn new(store_max_bytes: usize, base: &str) -> Self {
        let ingest = Arc::new(Ingest::new(store_max_bytes, None));
        let base: BasePath = base.parse().unwrap();
        Self { router: router(Arc::clone(&ingest), &base), ingest }
    }

    fn with(service: &str, spans: Value) -> Self {
        let browser = Self::new(64 << 20, "");
        browser.send(service, spans);
        browser
    }

    fn send(&self, service: &str, spans: Value) {
        let scope = json!({ "name": service, "version": service });
        self.send_from(attributes(&[("service.name", service)]), scope, spans);
    }

    fn send_from(&self, resource: Value, scope: Value, spans: Value) {
        let message = json!({ "resourceSpans": [{
            "resource": { "attributes": resource }, "scopeSpans": [{ "scope": scope, "spans": spans }],
        }] });
        let (message, _) = crate::otlp::json_to_protobuf(message.to_string().as_bytes()).unwrap();
        self.ingest.accept(&message, Transport::Http).unwrap();
    }

    async fn get(&self, path: &str) -> Page {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Page { status, headers, html: String::from_utf8(body.to_vec()).unwrap() }
    }
}

impl Page {
    fn has(&self, text: &str) -> bool {
        self.html.contains(text)
    }

    fn values_of<'a>(&'a self, attribute: &str) -> Vec<&'a str> {
        let start = format!(" {attribute}=\"");
        self.html.split(&start).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
    }
}

/// Returns a span of 1 ms with additional members; parent 0 means none.
fn span(trace: u64, id: u64, parent: u64, additions: Value) -> Value {
    let parent = if parent == 0 { String::new() } else { format!("{parent:016x}") };
    let mut span = json!({
        "traceId": format!("{trace:032x}"), "spanId": format!("{id:016x}"), "parentSpanId": parent,
        "name": format!("operation {id}"), "kind": 2,
        "startTimeUnixNano": "1795455811000000000", "endTimeUnixNano": "1795455811001000000",
    });
    span.as_object_mut().unwrap().extend(additions.as_object().unwrap().clone());
    span
}

fn attributes(pairs: &[(&str, &str)]) -> Value {
    pairs.iter().map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } })).collect()
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Returns a trace with hostile text in every field of a span.
fn hostile() -> Browser {
    let text = attributes(&[(HOSTILE, HOSTILE)]);
    let nested =
        json!([{ "key": "list", "value": { "arrayValue": { "values": [{ "stringValue": HOSTILE }] } } }]);
    let additions = json!({
        "name": HOSTILE, "attributes": text, "traceState": HOSTILE,
        "status": { "code": 2, "message": HOSTILE },
        "events": [{ "timeUnixNano": "1", "name": HOSTILE, "attributes": nested }],
        "links": [{ "traceId": format!("{:032x}", 2), "spanId": format!("{:016x}", 2), "traceState": HOSTILE, "attributes": text }],
    });
    Browser::with(HOSTILE, json!([span(1, 1, 0, additions)]))
}

#[tokio::test]
async fn the_search_page_lists_services_and_the_latest_traces() {
    let browser = Browser::new(64 << 20, "");
    let empty = browser.get("/").await;
    assert!(empty.status == 200 && empty.has("No traces yet"));

    browser
        .send("shop", json!([span(1, 1, 0, json!({})), span(1, 2, 1, json!({ "status": { "code": 2 } }))]));
    browser.send("cart", json!([span(1, 3, 1, json!({})), span(2, 4, 0, json!({}))]));
    let page = browser.get("/").await;
    assert!(page.has("The most recent 2 traces"));
    let links = page.values_of("href");
    let place = |path: &str| links.iter().position(|link| *link == path).unwrap();
    assert!(
        place(&format!("/trace/{:032x}", 2)) < place(&format!("/trace/{:032x}", 1)),
        "the latest trace is first"
    );
    place("/?service=cart");
    place("/?service=shop");
    assert!(page.has("<span class=\"tag bad\">1</span>"), "number of errors");
}

#[tokio::test]
async fn each_field_restricts_the_search() {
    let browser = Browser::with(
        "shop",
        json!([span(1, 1, 0, json!({ "attributes": attributes(&[("sql", "select 1")]) }))]),
    );
    browser.send("cart", json!([span(2, 2, 0, json!({ "endTimeUnixNano": "1795455813000000000" }))]));
    for (query, expected) in [
        ("service=shop", [true, false]),
        ("operation=operation+2", [false, true]),
        ("tags=sql%3D%22select+1%22%0D%0Aerror%3Dfalse", [true, false]),
        ("minDuration=1.5s", [false, true]),
        ("maxDuration=1.5s", [true, false]),
        ("from=2026-11-23T17:43:31Z&to=2026-11-23T17:43:31Z", [true, true]),
        ("to=2026-11-23T17:43:30Z", [false, false]),
        ("last=&service=&limit=1", [false, true]),
    ] {
        let page = browser.get(&format!("/?{query}")).await;
        assert_eq!(page.status, 200, "{query}");
        let shown = [1, 2].map(|trace| page.has(&format!("/trace/{trace:032x}")));
        assert_eq!(shown, expected, "{query}");
    }
    assert!(
        browser.get("/?service=nobody").await.has("No trace has a span that meets all of these conditions")
    );
}

#[tokio::test]
async fn invalid_fields_have_messages_and_entered_values_stay() {
    let browser = Browser::with("shop", json!([span(1, 1, 0, json!({}))]));
    let query =
        "service=gone&operation=my+op&tags=a%3Db+oops&minDuration=5&maxDuration=3s&last=6h&from=now&limit=x";
    let page = browser.get(&format!("/?{query}")).await;
    assert_eq!(page.status, 400);
    for typed in [
        "gone\" selected",
        "my op\"",
        "\na=b oops</textarea>",
        "\"5\"",
        "\"3s\"",
        "\"6h\" selected",
        "\"now\"",
        "\"x\"",
    ] {
        assert!(page.has(typed), "{typed}");
    }
    let wrong = ["tags-problem", "minDuration-problem", "from-problem", "limit-problem"];
    let ids: Vec<&str> = page.values_of("id").into_iter().filter(|id| id.ends_with("-problem")).collect();
    assert_eq!(ids, wrong);
    let described = page.values_of("aria-describedby").join(" ");
    assert!(wrong.iter().all(|id| described.contains(id)), "{described}");
    assert_eq!(page.values_of("aria-invalid").len(), wrong.len());
    assert_eq!(browser.get("/?limit=1&limit=2").await.status, 400);
}

#[tokio::test]
async fn escapes_text_from_senders_and_from_urls() {
    let browser = hostile();
    let id = format!("{:032x}", 1);
    let typed = encoded(HOSTILE);
    let search = format!(
        "/?service={typed}&operation={typed}&tags={typed}&minDuration={typed}&from={typed}&last={typed}&limit={typed}"
    );
    for path in [
        "/",
        &format!("/trace/{id}"),
        &search,
        &format!("/trace/{typed}"),
        &format!("/trace?id={typed}"),
        &format!("/{typed}"),
    ] {
        let page = browser.get(path).await;
        for tag in ["<script", "<img", "<style", " style=", "javascript:"] {
            assert!(!page.has(tag), "{tag} in {path}");
        }
        assert_eq!(
            page.html.matches("</textarea>").count(),
            page.html.matches("<textarea").count(),
            "{path}"
        );
        assert_eq!(page.html.matches("</title>").count(), 1, "{path}");
    }
    let shown = "&lt;script&gt;alert(1)&lt;/script&gt;";
    let trace = browser.get(&format!("/trace/{id}")).await;
    assert!(
        trace.html.matches(shown).count() >= 12,
        "hostile text is shown: {}",
        trace.html.matches(shown).count()
    );
}

#[tokio::test]
async fn the_policy_of_every_page_forbids_scripts() {
    let browser = hostile();
    for path in ["/", "/?limit=0", "/trace/1", "/trace/99", "/trace/x", "/nowhere", "/style.css"] {
        let headers = browser.get(path).await.headers;
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'self';"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}");
        assert_eq!(
            (&headers["x-content-type-options"], &headers["referrer-policy"]),
            (&"nosniff".parse().unwrap(), &"no-referrer".parse().unwrap())
        );
    }
    assert_eq!(browser.get("/style.css").await.headers["content-type"], "text/css; charset=utf-8");
}

#[tokio::test]
async fn a_trace_page_shows_all_fields_of_its_spans() {
    let details = json!({
        "attributes": [{ "key": "rows", "value": { "intValue": "17" } }, { "key": "raw", "value": { "bytesValue": "AP8H" } }],
        "droppedAttributesCount": 3,
        "events": [{ "timeUnixNano": "1795455811000500000", "name": "checked" }],
        "links": [{ "traceId": format!("{:032x}", 7), "spanId": format!("{:016x}", 8) }],
        "status": { "code": 2, "message": "boom" },
        "traceState": "vendor=1",
    });
    let browser = Browser::with(
        "shop",
        json!([span(1, 1, 0, json!({})), span(1, 2, 1, details), span(1, 3, 99, json!({}))]),
    );
    browser.send("cart", json!([span(1, 4, 5, json!({})), span(1, 5, 4, json!({}))]));
    let page = browser.get("/trace/1").await;
    assert_eq!(page.status, 200);
    let rows: Vec<&str> = page.values_of("id").into_iter().filter(|id| id.starts_with("s0")).collect();
    assert_eq!(rows, [1, 2, 3, 4, 5].map(|id| format!("s{id:016x}")));
    let link = format!("/trace/{:032x}#s{:016x}", 7, 8);
    for text in [
        "3 attributes dropped by the sender",
        "bytes (base64)",
        "AP8H",
        "+500 µs",
        "checked",
        "boom",
        "vendor=1",
        "parent missing",
        "(not received)",
        "parent cycle",
        "critical",
        &link,
        "#s0000000000000001",
        "href=\"/api/traces/00000000000000000000000000000001\"",
    ] {
        assert!(page.has(text), "{text}");
    }
}

#[tokio::test]
async fn a_large_trace_shows_1000_spans_and_counts_the_rest() {
    let failed = |id: u64| json!({ "status": { "code": if id == 1400 { 2 } else { 0 } } });
    let spans: Vec<Value> = (1..=1500).map(|id| span(1, id, id - 1, failed(id))).collect();
    let browser = Browser::with("deep", json!(spans));
    let page = browser.get("/trace/1").await;
    assert_eq!(page.html.matches("<li id=\"s").count(), trace::MAX_SPANS);
    assert!(page.has("<strong>500 more spans</strong>, 1 of them with errors"));
}

#[tokio::test]
async fn truncates_long_text() {
    let (name, value) = ("n".repeat(1000), "v".repeat(10_000));
    let browser = Browser::with(
        "shop",
        json!([span(1, 1, 0, json!({ "name": name, "attributes": attributes(&[("key", &value)]) }))]),
    );
    let page = browser.get("/trace/1").await;
    assert!(page.has("(880 more characters)") && page.has("(8000 more characters in the JSON)"));
    assert!(page.html.len() < 20_000, "{}", page.html.len());
}

#[tokio::test]
async fn shared_resources_and_scopes_are_listed_once_and_linked() {
    let browser = Browser::new(64 << 20, "");
    let resource = |instance| attributes(&[("service.name", "shop"), ("service.instance.id", instance)]);
    let library =
        json!({ "name": "http", "version": "1.0", "attributes": attributes(&[("flavour", "mint")]) });
    browser.send_from(
        resource("shop_1"),
        library,
        json!([span(1, 1, 0, json!({})), span(1, 2, 1, json!({})), span(1, 3, 1, json!({}))]),
    );
    browser.send_from(resource("shop_2"), json!({ "name": "plain" }), json!([span(1, 4, 1, json!({}))]));
    let page = browser.get("/trace/1").await;
    for (text, times) in [
        ("service.instance.id", 2),
        ("flavour", 1),
        ("id=\"r1\"", 1),
        ("id=\"r2\"", 1),
        ("id=\"l1\"", 1),
        ("href=\"#r1\"", 3),
        ("href=\"#r2\"", 1),
        ("href=\"#l1\"", 3),
        ("<bdi>plain</bdi>", 1),
    ] {
        assert_eq!(page.html.matches(text).count(), times, "{text}");
    }
}

#[tokio::test]
async fn distinguishes_evicted_from_unknown_traces() {
    let browser = Browser::new(1 << 16, "");
    for trace in 1..=100 {
        browser.send(
            "shop",
            json!([span(
                trace,
                1,
                0,
                json!({ "attributes": attributes(&[("padding", &"x".repeat(5000))]) })
            )]),
        );
    }
    let is_evicted =
        |id: &u64| matches!(browser.ingest.store.get(TraceId(u128::from(*id))), Lookup::Evicted(_));
    let gone = browser.get(&format!("/trace/{:x}", (1..=100).find(is_evicted).unwrap())).await;
    let unknown = browser.get("/trace/fff").await;
    assert!(gone.status == 404 && gone.has("was evicted"));
    assert!(
        unknown.status == 404
            && unknown.has("No span of trace 00000000000000000000000000000fff has been received")
    );
}

#[tokio::test]
async fn the_id_field_redirects_to_the_trace() {
    let browser = Browser::new(1 << 20, "/jaeger");
    let long = "5b8efff798038103d269b633813fc60c";
    for (typed, id) in [
        ("+AB1+", "00000000000000000000000000000ab1"),
        (&format!("+{long}"), long),
        (&format!("00-{long}-00f067aa0ba902b7-01"), long),
    ] {
        let page = browser.get(&format!("/trace?id={typed}")).await;
        let expected = format!("/jaeger/trace/{id}");
        assert_eq!((page.status, page.headers["location"].to_str().unwrap()), (303, expected.as_str()));
    }
    assert!(
        browser.get("/").await.values_of("maxlength").is_empty(),
        "a pasted id can have surrounding spaces"
    );
    for path in ["/trace?id=xyz", "/trace?id=00-x-y-z", "/trace", "/trace?id=0", "/trace/xyz", "/trace/%ff"] {
        assert_eq!(browser.get(path).await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn all_links_start_with_the_base_path() {
    let browser = Browser::new(1 << 20, "/jaeger");
    browser.send("shop", json!([span(1, 1, 0, json!({})), span(1, 2, 1, json!({}))]));
    for path in ["/", "/trace/1", "/trace/2", "/trace/x"] {
        let page = browser.get(path).await;
        for link in [page.values_of("href"), page.values_of("action")].concat() {
            assert!(link.starts_with("/jaeger/") || link.starts_with('#'), "{link} in {path}");
        }
    }
}

#[tokio::test]
async fn unknown_paths_are_not_found() {
    let page = Browser::new(1 << 20, "").get("/nothing").await;
    assert!(page.status == 404 && page.has("Page not found"));
}
