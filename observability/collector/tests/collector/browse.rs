//! The query port in a browser: the collector's pages or Jaeger's UI, at the root or below a base path.

use std::path::Path;

use collector::Error;
use http::StatusCode;
use serde_json::json;

use crate::support::{Collector, Reply, SERVER, hex, span};

/// Writes a minimal Jaeger UI.
fn ui(folder: &Path) -> Option<std::path::PathBuf> {
    std::fs::create_dir(folder.join("static")).unwrap();
    std::fs::write(folder.join("static/app.js"), "run()").unwrap();
    std::fs::write(folder.join("index.html"), "<head></head><div id=\"jaeger-ui-root\"></div>").unwrap();
    Some(folder.to_owned())
}

fn text(reply: &Reply) -> &str {
    std::str::from_utf8(&reply.body).unwrap()
}

async fn assert_api(collector: &Collector, base: &str) {
    let path = format!("{base}/api/traces/{}", hex(1));
    assert_eq!(
        collector.get(&path).await.json()["data"][0]["spans"][0]["operationName"],
        "operation 1",
        "{path}"
    );
    let unknown = collector.get(&format!("{base}/api/nothing")).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND, "{base}");
    assert!(!text(&unknown).contains('<'), "{base}");
}

async fn assert_health_and_metrics_at_the_root(collector: &Collector) {
    assert_eq!(text(&collector.get("/health/live").await), "live\n");
    assert_eq!(text(&collector.get("/health/ready").await), "ready\n");
    assert!(text(&collector.get("/metrics").await).contains("collector_received_spans_total"));
}

#[tokio::test]
async fn serves_its_own_pages_without_a_ui() {
    let collector = Collector::start().await;
    collector.accept("shop", json!([span(1, 1, 0, SERVER)])).await;
    let home = collector.get("/").await;
    assert!(home.status == StatusCode::OK && text(&home).contains(&format!("/trace/{}", hex(1))));
    assert!(text(&collector.get(&format!("/trace/{}", hex(1))).await).contains("operation 1"));
    assert_api(&collector, "").await;
    assert_health_and_metrics_at_the_root(&collector).await;
    collector.stop().await;
}

#[tokio::test]
async fn serves_pages_and_api_below_a_base_path() {
    let collector = Collector::browsed(None, Some("/a/b")).await;
    collector.accept("shop", json!([span(1, 1, 0, SERVER)])).await;
    for path in ["/a/b", "/a/b/"] {
        let home = collector.get(path).await;
        assert!(
            home.status == StatusCode::OK && text(&home).contains(&format!("/a/b/trace/{}", hex(1))),
            "{path}"
        );
    }
    assert_eq!(collector.get("/").await.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(collector.get("/a/bc").await.status, StatusCode::NOT_FOUND);
    assert_api(&collector, "/a/b").await;
    assert_api(&collector, "").await;
    assert_health_and_metrics_at_the_root(&collector).await;
    collector.stop().await;
}

#[tokio::test]
async fn serves_a_jaeger_ui_instead_of_its_pages() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::browsed(ui(folder.path()), None).await;
    collector.accept("shop", json!([span(1, 1, 0, SERVER)])).await;
    for path in ["/", "/search", "/trace/1"] {
        assert!(text(&collector.get(path).await).contains("<head><base href=\"/\">"), "{path}");
    }
    let file = collector.get("/static/app.js").await;
    assert_eq!((file.content_type.as_str(), text(&file)), ("text/javascript", "run()"));
    assert_api(&collector, "").await;
    assert_health_and_metrics_at_the_root(&collector).await;
    collector.stop().await;
}

#[tokio::test]
async fn serves_a_jaeger_ui_below_a_base_path() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::browsed(ui(folder.path()), Some("/jaeger")).await;
    collector.accept("shop", json!([span(1, 1, 0, SERVER)])).await;
    for path in ["/jaeger", "/jaeger/", "/jaeger/search", "/jaeger/trace/1"] {
        assert!(text(&collector.get(path).await).contains("<head><base href=\"/jaeger/\">"), "{path}");
    }
    assert_eq!(text(&collector.get("/jaeger/static/app.js").await), "run()");
    assert_api(&collector, "/jaeger").await;
    assert_api(&collector, "").await;
    assert_health_and_metrics_at_the_root(&collector).await;
    collector.stop().await;
}

#[tokio::test]
async fn rejects_invalid_settings_as_usage_errors() {
    let folder = tempfile::tempdir().unwrap();
    let no_ui = Collector::browsed(Some(folder.path().to_owned()), None).await.ended().await.unwrap_err();
    assert!(matches!(no_ui, Error::JaegerUi(_)) && no_ui.is_usage(), "{no_ui}");
}
