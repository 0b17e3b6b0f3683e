//! Links that other programs make to Jaeger's UI, and the pages that they lead to.

use super::*;

async fn target(browser: &Browser, path: &str) -> String {
    let page = browser.get(path).await;
    assert_eq!(page.status, 303, "{path}");
    page.headers["location"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_link_to_jaegers_search_shows_the_same_traces() {
    let browser = Browser::new(64 << 20, "/jaeger");
    let tagged = json!({ "attributes": attributes(&[("cluster", "a b")]) });
    browser.send("shop", json!([span(1, 1, 0, tagged), span(2, 2, 0, json!({}))]));
    let link = "/search?service=shop&operation=all&lookback=custom&start=1795455800000000&end=1795455820000000&limit=20\
                &maxDuration&minDuration&tags=%7B%22cluster%22%3A%22a%20b%22%7D";
    let target = target(&browser, link).await;
    let page = browser.get(target.strip_prefix("/jaeger").unwrap()).await;
    assert_eq!(page.status, 200, "{target}");
    assert!(page.has("1 trace found, latest first") && page.has(&format!("/jaeger/trace/{:032x}", 1)));
    assert!(page.has("cluster=&quot;a b&quot;"), "the fields are filled in");
}

#[tokio::test]
async fn links_with_values_that_do_not_translate_show_their_errors() {
    let browser = Browser::with("shop", json!([span(1, 1, 0, json!({}))]));
    for (link, problem) in [
        ("/search?tags=%7Boops", "tags-problem"),
        ("/search?start=soon", "from-problem"),
        ("/search?lookback=1x", "last-problem"),
    ] {
        let page = browser.get(&target(&browser, link).await).await;
        assert!(page.status == 400 && page.values_of("id").contains(&problem), "{link}");
    }
}

#[tokio::test]
async fn the_dependencies_page_counts_calls_between_services() {
    let browser = Browser::new(64 << 20, "");
    assert!(browser.get("/dependencies").await.has("No stored trace has a span with a parent"));
    browser.send("shop", json!([span(1, 1, 0, json!({})), span(2, 1, 0, json!({}))]));
    browser
        .send("cart", json!([span(1, 2, 1, json!({})), span(2, 2, 1, json!({})), span(2, 3, 1, json!({}))]));
    browser.send(HOSTILE, json!([span(1, 4, 1, json!({}))]));
    let page = browser.get("/dependencies").await;
    assert_eq!(page.status, 200);
    let rows: Vec<&str> = page.html.split("<tr>").skip(2).collect();
    assert!(rows[0].contains("shop") && rows[0].contains("cart") && rows[0].contains(">3<"), "{}", rows[0]);
    assert!(rows[1].contains("&lt;script&gt;") && !page.has("<script"), "{}", rows[1]);
}

#[tokio::test]
async fn the_monitor_page_shows_rate_errors_and_durations_of_the_last_hour() {
    let browser = Browser::new(64 << 20, "");
    assert!(browser.get("/monitor").await.has("ended in the last hour"));
    let end = now_ns();
    let recent = |id: u64, kind: u8, failed: bool| {
        let times = json!({ "kind": kind, "name": "GET /cart", "status": { "code": if failed { 2 } else { 0 } },
            "startTimeUnixNano": (end - 20_000_000).to_string(), "endTimeUnixNano": end.to_string() });
        span(u64::from(kind), id, 0, times)
    };
    browser.send("shop", json!([recent(1, 2, false), recent(2, 2, true), recent(3, 3, false)]));
    browser.send(HOSTILE, json!([recent(4, 5, false)]));
    let page = browser.get("/monitor").await;
    let row = page.html.split("<tr>").find(|row| row.contains(">shop<")).unwrap();
    assert!(row.contains(">2<") && row.contains("50.0 %"), "{row}");
    assert!(row.contains(" ms<") && row.contains("server"), "{row}");
    assert!(page.has("consumer") && !page.has("client") && !page.has("<script"));
    let one = browser.get("/monitor?service=shop").await;
    assert!(one.has(">shop<") && !one.has("consumer") && one.has("All services"));
    assert_eq!(browser.get("/monitor?service=a&service=b").await.status, 400);
}

#[tokio::test]
async fn every_page_links_the_others_below_the_base_path() {
    let browser = Browser::new(1 << 20, "/jaeger");
    for path in ["/", "/dependencies", "/monitor", "/trace/1"] {
        let page = browser.get(path).await;
        for link in ["/jaeger/", "/jaeger/dependencies", "/jaeger/monitor"] {
            assert!(page.values_of("href").contains(&link), "{link} in {path}");
        }
    }
}
