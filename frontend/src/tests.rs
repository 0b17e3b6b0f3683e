use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use axum::body::Body;
use axum::http::header::{ALLOW, AsHeaderName, CONTENT_LENGTH};
use axum::http::{Method, Request};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;

async fn reply(request: Request<Body>) -> Response {
    app_router(8000).oneshot(request).await.unwrap()
}

async fn fetch(path: &str) -> Response {
    reply(Request::get(path).body(Body::empty()).unwrap()).await
}

async fn text(response: Response) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn header(response: &Response, name: impl AsHeaderName) -> &str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// Returns the text between each `before` in `content` and the next `"`.
fn quoted_after<'a>(content: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    content.split(before).skip(1).filter_map(|rest| rest.split('"').next())
}

#[tokio::test]
async fn serves_the_start_page_as_html() {
    let response = fetch("/").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(header(&response, CONTENT_TYPE), "text/html; charset=utf-8");
    assert!(text(response).await.contains("<title>Tutoring</title>"));
}

#[tokio::test]
async fn serves_every_file_of_app() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/app");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    for file in files.filter(|file| file != "not-found.html") {
        let path = if file == "index.html" { String::new() } else { file.clone() };
        let response = fetch(&format!("/{path}")).await;
        assert_eq!(response.status(), StatusCode::OK, "{file}");
        assert_eq!(text(response).await, fs::read_to_string(format!("{folder}/{file}")).unwrap(), "{file}");
    }
}

#[tokio::test]
async fn refuses_post_with_a_hint() {
    let response = reply(Request::post("/").body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(text(response).await.contains("GET or HEAD"));
}

#[tokio::test]
async fn serves_every_referenced_file_with_its_media_type() {
    let mut references = BTreeSet::new();
    for content in APP.iter().map(|asset| asset.content).chain([NOT_FOUND]) {
        for before in ["href=\"", "src=\"", " from \"", "url(\""] {
            references.extend(quoted_after(content, before));
        }
    }
    assert!(references.contains("/app.js") && references.contains("/style.css"), "{references:?}");
    for path in references {
        let response = fetch(path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let expected = match path.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(header(&response, CONTENT_TYPE), expected, "{path}");
    }
}

#[test]
fn references_no_other_host() {
    for asset in APP {
        let foreign = asset.content.replace("http://www.w3.org/2000/svg", "");
        assert!(!foreign.contains("http:") && !foreign.contains("https:"), "{}", asset.path);
    }
}

#[test]
fn scripts_never_parse_text_as_markup() {
    for asset in APP {
        for unsafe_call in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!asset.content.contains(unsafe_call), "{} uses {unsafe_call}", asset.path);
        }
    }
}

#[tokio::test]
async fn config_names_the_port_of_the_balancer() {
    let response =
        app_router(31_337).oneshot(Request::get("/config.json").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(header(&response, CONTENT_TYPE), "application/json");
    assert_eq!(header(&response, CACHE_CONTROL), "no-store");
    assert!(header(&response, CONTENT_SECURITY_POLICY).contains("connect-src 'self' *:31337;"));
    assert_eq!(text(response).await, r#"{"api_port":31337}"#);
}

#[tokio::test]
async fn answers_an_unknown_path_with_a_404_page() {
    for path in ["/nothing", "/app/../style.css", "/style.css/", "/%2e%2e/Cargo.toml", "//"] {
        let response = fetch(path).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(header(&response, CONTENT_TYPE), "text/html; charset=utf-8");
        assert!(text(response).await.contains("Page not found"));
    }
}

#[tokio::test]
async fn sets_security_headers_on_every_reply() {
    for path in ["/", "/app.js", "/config.json", "/nothing"] {
        let response = fetch(path).await;
        let policy = header(&response, CONTENT_SECURITY_POLICY);
        assert!(
            policy.contains("default-src 'none'") && policy.contains("script-src 'self';"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(header(&response, X_CONTENT_TYPE_OPTIONS), "nosniff", "{path}");
        assert_eq!(header(&response, REFERRER_POLICY), "no-referrer", "{path}");
    }
}

#[tokio::test]
async fn answers_304_to_a_matching_entity_tag() {
    let etag = header(&fetch("/style.css").await, ETAG).to_owned();
    for tag in [etag.clone(), format!("W/{etag}"), format!("\"old\", {etag}"), "*".to_owned()] {
        let request = Request::get("/style.css").header(IF_NONE_MATCH, &tag).body(Body::empty()).unwrap();
        let response = reply(request).await;
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{tag}");
        assert_eq!(header(&response, ETAG), etag);
        assert_eq!(header(&response, CACHE_CONTROL), "no-cache");
        assert_eq!(text(response).await, "");
    }
}

#[tokio::test]
async fn answers_200_to_another_entity_tag() {
    let other = header(&fetch("/app.js").await, ETAG).to_owned();
    let request = Request::get("/style.css").header(IF_NONE_MATCH, other).body(Body::empty()).unwrap();
    let response = reply(request).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!text(response).await.is_empty());
}

#[tokio::test]
async fn head_reports_the_length_and_post_lists_the_allowed_methods() {
    let head = reply(Request::head("/").body(Body::empty()).unwrap()).await;
    assert_eq!(header(&head, CONTENT_LENGTH), APP[0].content.len().to_string());
    let post = reply(Request::builder().method(Method::POST).uri("/").body(Body::empty()).unwrap()).await;
    assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(header(&post, ALLOW), "GET,HEAD");
}

/// Returns the custom properties of each `:root` block of a style sheet: light mode, then dark mode.
fn palettes(css: &str) -> Vec<BTreeMap<&str, &str>> {
    let blocks = css.split(":root {").skip(1).filter_map(|rest| rest.split('}').next());
    blocks.map(|block| block.lines().filter_map(custom_property).collect()).collect()
}

fn custom_property(line: &str) -> Option<(&str, &str)> {
    line.trim().strip_prefix("--")?.strip_suffix(';')?.split_once(": ")
}

#[test]
fn shares_its_palette_with_the_pages_of_the_collector() {
    let pages = concat!(env!("CARGO_MANIFEST_DIR"), "/../observability/collector/src/pages/style.css");
    let pages = fs::read_to_string(pages).unwrap();
    let app = include_str!("../app/style.css");
    let mut shared = 0;
    for (app, pages) in palettes(app).into_iter().zip(palettes(&pages)) {
        for (name, value) in pages.into_iter().filter(|(_, value)| value.starts_with('#')) {
            if let Some(ours) = app.get(name) {
                assert_eq!(*ours, value, "--{name}");
                shared += 1;
            }
        }
    }
    assert!(shared >= 20, "only {shared} shared colours were compared");
}
