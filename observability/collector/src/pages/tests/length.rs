//! Pages have a bounded size.

use super::*;

/// Maximum size of a page: the fixed part of its rows and its markup budgets.
const MAX_PAGE_BYTES: usize = 16 << 20;

/// Returns attributes of the maximum shown length, of characters that are longest when escaped.
fn long_attributes(count: usize) -> Value {
    let keys: Vec<String> = (0..count).map(|number| format!("{number:\">10}")).collect();
    let value = "\"".repeat(2_000);
    attributes(&keys.iter().map(|key| (key.as_str(), value.as_str())).collect::<Vec<_>>())
}

#[tokio::test]
async fn bounds_a_page_of_spans_that_share_long_attributes() {
    let browser = Browser::new(64 << 20, "");
    let spans: Vec<Value> = (1..=1_000).map(|id| span(1, id, 0, json!({}))).collect();
    let scope = json!({ "name": "library", "attributes": long_attributes(32) });
    browser.send_from(long_attributes(32), scope, json!(spans));
    let page = browser.get("/trace/1").await;
    assert_eq!(page.html.matches("<li id=\"s").count(), 1_000);
    assert!(page.html.len() < MAX_PAGE_BYTES / 4, "{}", page.html.len());
}

#[tokio::test]
async fn bounds_a_page_of_spans_with_long_fields() {
    let browser = Browser::new(1 << 30, "");
    let text = "\"".repeat(2_000);
    let long = json!({
        "name": text, "traceState": text, "status": { "code": 2, "message": text }, "attributes": long_attributes(5),
        "events": [{ "name": text, "attributes": long_attributes(3) }, { "name": text }],
        "links": [{ "traceId": format!("{:032x}", 2), "spanId": format!("{:016x}", 2), "traceState": text,
            "attributes": long_attributes(3) }],
    });
    for part in 0..10 {
        let spans: Vec<Value> = (1..=100).map(|id| span(1, 100 * part + id, 0, long.clone())).collect();
        let name = format!("{}{part}", "\"".repeat(2_000));
        let scope = json!({ "name": name, "version": name, "attributes": long_attributes(20) });
        let mut resource = long_attributes(20);
        let named = attributes(&[("service.name", &name), ("service.instance.id", &name)]);
        resource.as_array_mut().unwrap().extend(named.as_array().unwrap().clone());
        browser.send_from(resource, scope, json!(spans));
    }
    let page = browser.get("/trace/1").await;
    assert_eq!(page.html.matches("<li id=\"s").count(), 1_000);
    assert!(page.html.len() < MAX_PAGE_BYTES, "{}", page.html.len());
    for text in ["5 attributes in the JSON", "2 events in the JSON", "1 link in the JSON", "(in the JSON)"] {
        assert!(page.has(text), "{text}");
    }
}

#[tokio::test]
async fn bounds_a_search_page_of_many_services() {
    let browser = Browser::new(256 << 20, "");
    for number in 0..800 {
        browser.send(&format!("service {number:04}"), json!([span(number + 1, 1, 0, json!({}))]));
    }
    for number in 0..100 {
        let name = format!("{}{number}", "\"".repeat(15_000));
        browser.send(&name, json!([span(1, number + 2, 0, json!({ "name": name }))]));
    }
    let page = browser.get("/?limit=1500").await;
    assert!(page.has("800 traces found") && page.has("<strong>400 more services</strong>"));
    let offered = ["0499", "0500"].map(|number| page.has(&format!("<option value=\"service {number}\"")));
    assert_eq!(offered, [true, false]);
    assert!(page.html.len() < MAX_PAGE_BYTES / 8, "{}", page.html.len());
}
