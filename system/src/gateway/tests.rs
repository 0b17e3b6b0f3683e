//! Gateways over real sockets, with the real cache and a search service that counts queries and can fail.

mod single_flight;
mod slots;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use axum::extract::Request as Incoming;
use axum::middleware::{self, Next};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use telemetry::server;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::*;
use crate::api::{SearchReply, Subject, Subjects, Token, Tutor, Tutors, User, UserQuery};
use crate::app::parse;
use crate::{cache, dataset, peer};

const KEY: &str = "0123456789abcdef0123456789abcdef";

#[derive(Default)]
struct Search {
    queries: AtomicUsize,
    /// Number of queries now, and its maximum so far.
    running: AtomicUsize,
    most_running: AtomicUsize,
    fails: AtomicBool,
    /// Number of reads that the cache has received.
    reads: watch::Sender<usize>,
    /// Number of cache reads before which no query is answered.
    hold_until: AtomicUsize,
}

impl Search {
    fn router(self: &Arc<Self>) -> Router {
        let search = Arc::clone(self);
        let subjects = || async {
            axum::Json(Subjects { subjects: vec![Subject { subject: "Math".into(), tutors: 20 }] })
        };
        Router::new().route("/subjects", get(subjects)).route(
            "/search",
            get(move |uri: Uri| {
                let search = Arc::clone(&search);
                async move {
                    search.queries.fetch_add(1, SeqCst);
                    search.most_running.fetch_max(search.running.fetch_add(1, SeqCst) + 1, SeqCst);
                    let hold_until = search.hold_until.load(SeqCst);
                    let _ = search.reads.subscribe().wait_for(|reads| *reads >= hold_until).await;
                    search.running.fetch_sub(1, SeqCst);
                    if search.fails.load(SeqCst) {
                        return Err(Code::Internal);
                    }
                    let query = extract::query(&uri).unwrap();
                    Ok(axum::Json(Tutors {
                        data: dataset::search(100, extract::value(&query, "subject").unwrap()),
                    }))
                }
            }),
        )
    }
}

/// Returns the only user, as the booking service does.
async fn user(Json(query): Json<UserQuery>) -> Result<axum::Json<User>> {
    if query.username != "student1" {
        return Err(Code::NotFound.into());
    }
    Ok(axum::Json(User { student_id: 1, password_hash: dataset::seeded_hash() }))
}

impl IntoResponse for Code {
    fn into_response(self) -> Response {
        crate::error::Problem::from(self).into_response()
    }
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(server::serve(listener, router, CancellationToken::new()));
    format!("http://{address}")
}

struct Setup {
    gateways: Vec<String>,
    search: Arc<Search>,
    calendar: Arc<slots::Calendar>,
    token: String,
}

/// Counts the reads of `cache`.
fn counted(cache: Router, reads: &watch::Sender<usize>) -> Router {
    let seen = reads.clone();
    cache.layer(middleware::from_fn(move |request: Incoming, next: Next| {
        seen.send_modify(|reads| *reads += usize::from(request.method() == http::Method::GET));
        next.run(request)
    }))
}

async fn cache(arguments: &[&str], reads: &watch::Sender<usize>) -> String {
    let app = cache::app(&parse(arguments).unwrap(), CancellationToken::new()).await.unwrap();
    serve(counted(app.routes, reads)).await
}

impl Setup {
    async fn new() -> Self {
        let reads = watch::Sender::new(0);
        let cache = cache(&[], &reads).await;
        Self::with_caches(&[&cache], reads).await
    }

    /// Starts one gateway for each of `caches`. The gateways wait for the caches however busy the machine is.
    async fn with_caches(caches: &[&str], reads: watch::Sender<usize>) -> Self {
        Self::start(caches, reads, "20000").await
    }

    async fn start(caches: &[&str], reads: watch::Sender<usize>, cache_timeout_ms: &str) -> Self {
        let search = Arc::new(Search { reads, ..Search::default() });
        let search_url = serve(search.router()).await;
        let calendar = Arc::new(slots::Calendar::default());
        let booking = calendar.router().route("/users/find", post(user));
        let booking_url = serve(booking).await;
        let mut gateways = Vec::new();
        for cache in caches {
            let mut settings = vec!["--jwt-secret", KEY, "--cache-url", cache, "--search-url", &search_url];
            settings.extend(["--booking-url", &booking_url, "--search-cache-ttl-seconds", "5"]);
            settings.extend(["--cache-timeout-ms", cache_timeout_ms]);
            let app = app(&parse(&settings).unwrap(), CancellationToken::new()).await.unwrap();
            gateways.push(serve(app.routes).await);
        }
        let token = TokenKeys::new(KEY).issue(Caller { username: "student1".into(), student_id: 1 }).unwrap();
        Self { gateways, search, calendar, token }
    }

    async fn get(&self, path: &str, authorization: &str) -> (StatusCode, Bytes) {
        get_from(&self.gateways[0], path, authorization).await
    }

    async fn log_in(&self, content_type: &str, body: String) -> (StatusCode, Bytes) {
        let request = Request::post(format!("{}/token", self.gateways[0]))
            .header("content-type", content_type)
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let response = peer::client().request(request).await.unwrap();
        (response.status(), response.into_body().collect().await.unwrap().to_bytes())
    }

    async fn search(&self, subject: &str) -> SearchReply {
        self.search_at(0, subject).await
    }

    async fn search_at(&self, gateway: usize, subject: &str) -> SearchReply {
        let path = format!("/search?subject={subject}");
        let (status, body) =
            get_from(&self.gateways[gateway], &path, &format!("Bearer {}", self.token)).await;
        assert_eq!(status, StatusCode::OK);
        serde_json::from_slice(&body).unwrap()
    }

    fn queries(&self) -> usize {
        self.search.queries.load(SeqCst)
    }
}

/// Sends a request over a connection of its own.
async fn get_from(base: &str, path: &str, authorization: &str) -> (StatusCode, Bytes) {
    let request = Request::get(format!("{base}{path}"))
        .header("authorization", authorization)
        .body(Full::new(Bytes::new()))
        .unwrap();
    let response = peer::client().request(request).await.unwrap();
    (response.status(), response.into_body().collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn concurrent_misses_cost_one_query_and_fill_the_cache() {
    let setup = Setup::new().await;
    setup.search.hold_until.store(20, SeqCst);
    let burst = futures::future::join_all((0..20).map(|_| setup.search("Math"))).await;
    assert_eq!(setup.queries(), 1);
    let expected: Vec<Tutor> = dataset::search(100, "Math");
    assert!(burst.iter().all(|reply| reply.data == expected && !reply.cached));
    let later = setup.search("Math").await;
    assert!(later.cached);
    assert_eq!(later.data, expected);
}

#[tokio::test]
async fn a_subject_is_cached_without_regard_to_case() {
    let setup = Setup::new().await;
    assert!(!setup.search("Stra%C3%9Fe").await.cached);
    for spelling in ["stra%C3%9Fe", "STRASSE", "%20strasse%20"] {
        assert!(setup.search(spelling).await.cached, "{spelling}");
    }
    assert_eq!(setup.queries(), 1);
    assert!(!setup.search("Strase").await.cached);
}

#[tokio::test]
async fn the_subjects_are_public() {
    let setup = Setup::new().await;
    for _ in 0..2 {
        let (status, body) = setup.get("/subjects", "").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(body, r#"{"subjects":[{"subject":"Math","tutors":20}]}"#);
    }
}

#[tokio::test]
async fn an_empty_result_is_cached() {
    let setup = Setup::new().await;
    assert_eq!(setup.search("Alchemy").await, SearchReply { cached: false, data: vec![] });
    assert_eq!(setup.search("Alchemy").await, SearchReply { cached: true, data: vec![] });
    assert_eq!(setup.queries(), 1);
}

#[tokio::test]
async fn an_error_is_not_cached_and_has_no_internal_detail() {
    let setup = Setup::new().await;
    setup.search.fails.store(true, SeqCst);
    let (status, body) = setup.get("/search?subject=Math", &format!("Bearer {}", setup.token)).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&problem["code"], &problem["detail"]), (&"internal".into(), &"Internal error.".into()));
    setup.search.fails.store(false, SeqCst);
    assert!(!setup.search("Math").await.cached);
}

#[tokio::test]
async fn a_cache_that_hangs_does_not_fail_a_search() {
    // Accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    let setup = Setup::start(&[&address], watch::Sender::new(0), "200").await;
    assert!(!setup.search("Math").await.cached);
}

#[tokio::test]
async fn a_search_succeeds_without_the_cache() {
    let setup = Setup::with_caches(&["http://127.0.0.1:1"], watch::Sender::new(0)).await;
    assert!(!setup.search("Math").await.cached);
    assert!(!setup.search("Math").await.cached);
    assert_eq!(setup.queries(), 2);
}

#[tokio::test]
async fn invalid_credentials_are_rejected_with_their_own_code() {
    let setup = Setup::new().await;
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJzdHVkZW50MSIsInN0dWRlbnRfaWQiOjEsImlhdCI6MSwiZXhwIjo5OTk5OTk5OTk5fQ.";
    let foreign = TokenKeys::new("ffffffffffffffffffffffffffffffff")
        .issue(Caller { username: "student1".into(), student_id: 1 })
        .unwrap();
    for (authorization, code) in [
        ("Basic c3R1ZGVudDE6cGFzc3dvcmQ=".to_owned(), "missing_credentials"),
        ("Bearer ".to_owned(), "missing_credentials"),
        ("Bearer garbage".to_owned(), "invalid_token"),
        (format!("Bearer {none}"), "invalid_token"),
        (format!("Bearer {foreign}"), "invalid_token"),
        (format!("Bearer {}x", setup.token), "invalid_token"),
    ] {
        let (status, body) = setup.get("/search?subject=Math", &authorization).await;
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &problem["code"]), (StatusCode::UNAUTHORIZED, &code.into()), "{authorization}");
    }
    assert_eq!(setup.queries(), 0);
}

#[tokio::test]
async fn log_in_forms_follow_the_rules_of_the_original() {
    let setup = Setup::new().await;
    for (fields, status) in [
        ("username=student1&password=password", 200),
        ("grant_type=password&username=student1&password=password", 200),
        ("grant_type=&username=student1&password=password&scope=a&client_id=b", 200),
        ("username=wrong&password=wrong&username=student1&password=password", 200),
        ("username=student1&password=wrong", 401),
        ("username=nobody&password=password", 401),
        ("grant_type=refresh_token&username=student1&password=password", 422),
        ("grant_type=PASSWORD&username=student1&password=password", 422),
        ("grant_type=password%0A&username=student1&password=password", 422),
        ("username=student1", 422),
        ("password=password", 422),
        ("username=&password=password", 422),
        ("username=student1&password=", 422),
        ("", 422),
    ] {
        let (reply, body) = setup.log_in("application/x-www-form-urlencoded", fields.into()).await;
        assert_eq!(reply.as_u16(), status, "{fields}");
        assert!(reply != StatusCode::OK || serde_json::from_slice::<Token>(&body).is_ok());

        let mut parts = String::new();
        for (name, value) in fields.split('&').filter_map(|field| field.split_once('=')) {
            let value = value.replace("%0A", "\n");
            parts += &format!("--X\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        }
        parts += "--X--\r\n";
        let (reply, _) = setup.log_in("multipart/form-data; boundary=X", parts).await;
        assert_eq!(reply.as_u16(), status, "multipart {fields}");
    }
}

#[tokio::test]
async fn an_invalid_subject_is_a_400() {
    let setup = Setup::new().await;
    let long = format!("/search?subject={}", "x".repeat(101));
    for (path, code) in [
        ("/search", "missing_subject"),
        ("/search?subject=", "missing_subject"),
        ("/search?subject=%20", "missing_subject"),
        ("/search?subject=a%00b", "invalid_subject"),
        (long.as_str(), "invalid_subject"),
        ("/search?subject=%FF", "malformed_request"),
    ] {
        let (status, body) = setup.get(path, &format!("Bearer {}", setup.token)).await;
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &code.into()), "{path}");
    }
    assert_eq!(setup.queries(), 0);
}

#[tokio::test]
async fn a_missing_or_short_secret_is_rejected_without_showing_it() {
    let error = |arguments: &[&str]| {
        let settings: Settings = parse(arguments).unwrap();
        settings.jwt_secret().unwrap_err().to_string()
    };
    assert!(error(&[]).starts_with("JWT_SECRET is not set: "));
    assert_eq!(error(&["--jwt-secret", "hunter2"]), "JWT_SECRET is invalid: must have at least 32 bytes");
    let settings: Settings = parse(&["--jwt-secret", "hunter2"]).unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"));
}
