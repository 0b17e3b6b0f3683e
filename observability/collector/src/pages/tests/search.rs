//! Pages of the search, their order, and the example of a tag.

use super::*;

/// A browser over traces with these durations in milliseconds.
fn browser(durations: impl IntoIterator<Item = u64>) -> Browser {
    let browser = Browser::new(64 << 20, "");
    for (trace, ms) in (1..).zip(durations) {
        let end = (1_795_455_811_000_000_000 + ms * 1_000_000).to_string();
        browser.send("shop", json!([span(trace, 1, 0, json!({ "endTimeUnixNano": end }))]));
    }
    browser
}

/// Returns the ids of the traces in the table.
fn shown(page: &Page) -> Vec<u64> {
    let links = page.values_of("href").into_iter().filter_map(|link| link.strip_prefix("/trace/"));
    links.map(|id| u64::from_str_radix(id, 16).unwrap()).collect()
}

fn next(page: &Page) -> String {
    let links = page.values_of("href");
    links.into_iter().find(|link| link.contains("after=")).unwrap().replace("&amp;", "&")
}

#[tokio::test]
async fn says_how_many_traces_match_and_links_the_next_page() {
    let browser = browser((1..=190).map(|_| 1));
    let first = browser.get("/?service=shop").await;
    assert!(first.has("20 of 190 traces, latest first"));
    assert_eq!(shown(&first), (171..=190).rev().collect::<Vec<u64>>());

    // A trace that arrives meanwhile does not move the next page.
    browser.send("shop", json!([span(999, 1, 0, json!({}))]));
    let second = browser.get(&next(&first)).await;
    assert!(second.has("22–41 of 191 traces, latest first"));
    assert_eq!(shown(&second), (151..=170).rev().collect::<Vec<u64>>());
    assert!(second.values_of("href").contains(&"/?service=shop"), "the first page");
    assert!(browser.get("/").await.has("20 of 191 traces, latest first"));
    assert_eq!(browser.get("/?after=20").await.status, 400);
}

#[tokio::test]
async fn sorts_the_longest_traces_first() {
    let browser = browser([5, 9, 7, 1, 8]);
    let first = browser.get("/?sort=longest&limit=2").await;
    assert!(first.has("2 of 5 traces, longest first"));
    assert_eq!(shown(&first), [2, 5]);
    let second = browser.get(&next(&first)).await;
    assert_eq!(shown(&second), [3, 1]);
    assert!(second.has("value=\"longest\" selected"));
    let problem = browser.get("/?sort=shortest").await;
    assert!(problem.status == 400 && problem.values_of("id").contains(&"sort-problem"));
}

#[tokio::test]
async fn the_search_api_has_the_fields_of_the_page() {
    let browser = browser([5, 9, 7]);
    let router = api_router(Arc::clone(&browser.ingest));
    let get = async |query: &str| {
        let request = Request::get(format!("/api/workbench/search?{query}")).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let (status, first) = get("service=shop&limit=2&sort=longest").await;
    assert_eq!((status, &first["total"], &first["counted"]), (200, &json!(3), &json!(true)));
    let trace = json!({
        "trace_id": format!("{:032x}", 2), "service": "shop", "operation": "operation 1",
        "start": "2026-11-23T17:43:31.000000Z", "duration_us": 9000.0, "spans": 1, "errors": 0,
    });
    assert_eq!(first["traces"][0], trace);
    let after = first["next"].as_str().unwrap();
    let (_, second) = get(&format!("service=shop&limit=2&sort=longest&after={after}")).await;
    assert_eq!((&second["before"], &second["next"]), (&json!(2), &Value::Null));
    assert_eq!(second["traces"][0]["duration_us"], 5000.0);
    let (status, error) = get("limit=0&minDuration=x").await;
    assert_eq!(status, 400);
    let error = error["error"].as_str().unwrap();
    assert!(error.contains("minDuration: enter a number and a unit") && error.contains("limit: "), "{error}");
    assert_eq!(get("limit=1&limit=2").await.0, 400);
}

#[tokio::test]
async fn the_example_of_a_tag_is_an_attribute_that_was_received() {
    let browser = Browser::new(64 << 20, "");
    assert!(
        !browser
            .get("/")
            .await
            .html
            .split("<textarea")
            .nth(1)
            .unwrap()
            .split('>')
            .next()
            .unwrap()
            .contains("placeholder")
    );
    let long = "x".repeat(1000);
    let sent = attributes(&[("exception.stacktrace", &long), ("odd key", "1"), ("shop.city", "Sao Paulo")]);
    browser.send("shop", json!([span(1, 1, 0, json!({ "attributes": sent }))]));
    let page = browser.get("/").await;
    let textarea = page.html.split("<textarea").nth(1).unwrap();
    let example = textarea.split("placeholder=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(example, "shop.city=&quot;Sao Paulo&quot;");
    let found = browser.get(&format!("/?tags={}", encoded(&example.replace("&quot;", "\"")))).await;
    assert!(found.has("1 trace found"));
}
