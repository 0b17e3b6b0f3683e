use std::fs;
use std::path::Path as FilePath;

use axum::http::HeaderMap;
use http_body_util::BodyExt as _;
use tempfile::TempDir;

use super::*;

/// The relevant parts of the real page.
const INDEX: &str = r#"<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <base href="./" data-inject-target="BASE_URL" />
    <link rel="shortcut icon" type="image/x-icon" href="./static/favicon-1a2b.ico">
    <script>
      // JAEGER_CONFIG_JS
      function getJaegerUiConfig() {
        const DEFAULT_CONFIG = null;
        // Important! Do not alter the following line.
        const JAEGER_CONFIG = DEFAULT_CONFIG;
        return JAEGER_CONFIG;
      }
      const DEFAULT_STORAGE_CAPABILITIES = { archiveStorage: false, metricsStorage: false };
      const JAEGER_STORAGE_CAPABILITIES = DEFAULT_STORAGE_CAPABILITIES;
      const JAEGER_BACKEND_CAPABILITIES = DEFAULT_BACKEND_CAPABILITIES;
      const JAEGER_VERSION = DEFAULT_VERSION;
    </script>
    <script type="module" src="./static/index-3c4d.js"></script>
  </head>
  <body><div id="jaeger-ui-root"></div></body>
</html>
"#;

struct Reply {
    status: u16,
    headers: HeaderMap,
    body: String,
}

fn bundle() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("index.html"), INDEX).unwrap();
    fs::create_dir_all(folder.path().join("static/fonts")).unwrap();
    for file in [
        "index-3c4d.js",
        "index-5e6f.css",
        "logo-7a8b.svg",
        "shot-9c0d.png",
        "favicon-1a2b.ico",
        "fonts/a.woff2",
    ] {
        fs::write(folder.path().join("static").join(file), file).unwrap();
    }
    folder
}

fn open(folder: &FilePath) -> Result<JaegerUi, Error> {
    JaegerUi::open(folder, &BasePath::default())
}

async fn get(router: &Router, path: &str) -> Reply {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Reply { status, headers, body: String::from_utf8(body.to_vec()).unwrap() }
}

#[tokio::test]
async fn files_have_content_types_and_are_cached_forever() {
    let folder = bundle();
    let router = open(folder.path()).unwrap().router();
    for (file, expected) in [
        ("index-3c4d.js", "text/javascript"),
        ("index-5e6f.css", "text/css"),
        ("logo-7a8b.svg", "image/svg+xml"),
        ("shot-9c0d.png", "image/png"),
        ("favicon-1a2b.ico", "image/x-icon"),
        ("fonts/a.woff2", "font/woff2"),
    ] {
        let reply = get(&router, &format!("/static/{file}")).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, file));
        assert!(reply.headers["content-type"].to_str().unwrap().starts_with(expected), "{file}");
        assert!(reply.headers["cache-control"].to_str().unwrap().contains("immutable"), "{file}");
        assert_eq!(reply.headers["x-content-type-options"], "nosniff");
    }
}

#[tokio::test]
async fn all_paths_except_files_serve_the_page() {
    let folder = bundle();
    let router = open(folder.path()).unwrap().router();
    for path in ["/", "/search?service=a", "/trace/5b8e", "/monitor", "/index.html", "/apis", "/static"] {
        let reply = get(&router, path).await;
        assert!(reply.status == 200 && reply.body.contains("jaeger-ui-root"), "{path}");
        assert_eq!(reply.headers["cache-control"], "no-cache", "{path}");
        assert_eq!(reply.headers["content-type"], "text/html; charset=utf-8", "{path}");
    }
    for path in ["/static/gone.js", "/static/fonts", "/static/fonts/"] {
        let reply = get(&router, path).await;
        assert!(reply.status == 404 && !reply.body.contains("jaeger-ui-root"), "{path}");
    }
}

#[tokio::test]
async fn the_page_has_the_base_path_and_the_capabilities() {
    let folder = bundle();
    let base = "/jaeger".parse().unwrap();
    let page = get(&JaegerUi::open(folder.path(), &base).unwrap().router(), "/").await.body;
    assert!(page.contains("<head><base href=\"/jaeger/\">\n    <meta"), "{page}");
    let constant = |name: &str| -> serde_json::Value {
        let (_, rest) = page.split_once(&format!("const JAEGER_{name} = ")).unwrap();
        serde_json::from_str(rest.split_once(';').unwrap().0).unwrap()
    };
    assert_eq!(constant("CONFIG"), serde_json::json!({ "archiveEnabled": false }));
    assert_eq!(constant("VERSION")["gitVersion"], concat!("v", env!("CARGO_PKG_VERSION")));
    for name in ["STORAGE_CAPABILITIES", "BACKEND_CAPABILITIES"] {
        assert_eq!(
            (&constant(name)["metricsStorage"], &constant(name)["archiveStorage"]),
            (&true.into(), &false.into())
        );
    }
    assert!(page.contains("const DEFAULT_CONFIG = null;") && page.contains("// JAEGER_CONFIG_JS"));
}

#[tokio::test]
async fn serves_no_file_outside_the_folder() {
    let (folder, outside) = (bundle(), tempfile::tempdir().unwrap());
    let secret = outside.path().join("secret.txt");
    fs::write(&secret, "secret").unwrap();
    let files = folder.path().join("static");
    std::os::unix::fs::symlink(&secret, files.join("link.txt")).unwrap();
    std::os::unix::fs::symlink(outside.path(), files.join("out")).unwrap();
    std::os::unix::fs::symlink(files.join("index-3c4d.js"), files.join("inner.js")).unwrap();
    let router = open(folder.path()).unwrap().router();
    let absolute = secret.display().to_string().replace('/', "%2F");
    let climbing = ["..", "..%2F", "%2e%2e/", "..%5C", "fonts/../../", "fonts/..%2F..%2F"]
        .map(|up| format!("{up}/index.html"));
    let others = [
        "link.txt",
        "out/secret.txt",
        &absolute,
        "%00",
        "a%00b",
        "../../../../../../etc/passwd",
        "%2Fetc%2Fpasswd",
    ];
    for path in climbing.iter().map(String::as_str).chain(others) {
        let reply = get(&router, &format!("/static/{path}")).await;
        assert_eq!((reply.status, reply.body.as_str()), (404, "no such file\n"), "{path}");
    }
    assert_eq!(get(&router, "/static/inner.js").await.status, 200, "a link within the folder");
}

#[tokio::test]
async fn the_folder_of_files_can_be_a_symbolic_link() {
    let (folder, elsewhere) = (bundle(), tempfile::tempdir().unwrap());
    let (files, moved) = (folder.path().join("static"), elsewhere.path().join("files"));
    fs::rename(&files, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &files).unwrap();
    fs::write(elsewhere.path().join("secret.txt"), "secret").unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("secret.txt"), moved.join("link.txt")).unwrap();
    let router = open(folder.path()).unwrap().router();
    assert_eq!(get(&router, "/static/index-3c4d.js").await.status, 200);
    assert_eq!(get(&router, "/static/link.txt").await.status, 404, "a link out of the linked folder");
}

#[tokio::test]
async fn answers_304_for_unchanged_files() {
    let folder = bundle();
    let router = open(folder.path()).unwrap().router();
    let modified = get(&router, "/static/index-3c4d.js").await.headers["last-modified"].clone();
    let request = Request::get("/static/index-3c4d.js").header("if-modified-since", modified);
    let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    assert!(response.headers().contains_key("cache-control"));
}

#[test]
fn rejects_a_folder_that_is_not_a_jaeger_ui() {
    let folder = bundle();
    fs::write(folder.path().join("index.html"), "<html><body>hello").unwrap();
    let (no_head, nothing) =
        (open(folder.path()).unwrap_err(), open(FilePath::new("/nonexistent")).unwrap_err());
    assert!(matches!(no_head, Error::NoHead { .. }) && matches!(nothing, Error::Unreadable { .. }));
    for error in [no_head.to_string(), nothing.to_string()] {
        assert!(error.contains("index.html") && error.contains("assets.tar.gz"), "{error}");
    }
    fs::write(folder.path().join("index.html"), INDEX).unwrap();
    fs::remove_dir_all(folder.path().join("static")).unwrap();
    for is_file in [false, true] {
        if is_file {
            fs::write(folder.path().join("static"), "").unwrap();
        }
        let error = open(folder.path()).unwrap_err();
        assert!(matches!(error, Error::Unreadable { .. }), "{error}");
        assert!(error.to_string().contains("/static is not readable"), "{error}");
    }
    fs::write(folder.path().join("index.html"), b"\xff\xfe<head>").unwrap();
    assert!(matches!(open(folder.path()).unwrap_err(), Error::Unreadable { .. }));
}
