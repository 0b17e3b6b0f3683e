//! Invalid and hostile requests: the right 4xx problem, nothing written, and the services keep working.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::TcpStream;

use crate::harness::{Api, Stack};

/// The signing key of the gateways.
const SECRET: &str = "known to this test, and 32 bytes or more";

/// A token of student 1, valid until `expires` (seconds since 1970).
fn signed(expires: u64) -> String {
    let claims = json!({ "sub": "student1", "student_id": 1, "iat": expires - 3600, "exp": expires });
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
}

/// Sends a request and asserts that the reply is a problem with this status and code.
pub(crate) async fn refused(what: &str, request: RequestBuilder, status: u16, code: &str) {
    let reply = request.send().await.unwrap_or_else(|error| panic!("{what}: {error}"));
    let (got, media_type) = (reply.status(), reply.headers()["content-type"].clone());
    let body = reply.text().await.unwrap();
    assert_eq!(media_type, "application/problem+json", "{what}: {body}");
    let problem: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((got.as_u16(), problem["code"].as_str().unwrap()), (status, code), "{what}: {body}");
    assert_eq!(problem["status"], status, "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_bad_input_and_writes_nothing() {
    let stack = Stack::start_with(|up| {
        up.env("JWT_SECRET", SECRET);
    });
    let api = Api::log_in(&stack).await;
    let database = PgPool::connect(&stack.addresses.database_url).await.unwrap();

    bad_credentials(&api).await;
    bad_bookings(&api).await;
    bad_searches(&api).await;
    bad_paths(&api).await;

    let bookings: i64 =
        sqlx::query_scalar("SELECT count(*) FROM bookings").fetch_one(&database).await.unwrap();
    assert_eq!(bookings, 0, "no booking was written");
    let tutors: i64 = sqlx::query_scalar("SELECT count(*) FROM tutors").fetch_one(&database).await.unwrap();
    assert_eq!(tutors, 1000, "no tutor was deleted");
    let search = api.request(Method::GET, "/search?subject=Math").send().await.unwrap();
    assert_eq!(search.status(), StatusCode::OK, "search still works");
    let booked = api.book(r#"{"student_id":1,"tutor_id":1}"#).send().await.unwrap();
    assert_eq!(booked.status(), StatusCode::OK, "booking still works");
}

async fn bad_credentials(api: &Api) {
    let token = |username: &str, password: &str| {
        api.anonymous(Method::POST, "/token").form(&[("username", username), ("password", password)])
    };
    refused("wrong password", token("student1", "wrong"), 401, "invalid_credentials").await;
    refused("unknown user", token("nobody", "password"), 401, "invalid_credentials").await;
    refused("SQL as a name", token("' OR 1=1 --", "password"), 401, "invalid_credentials").await;
    refused("NUL in a name", token("student1\0", "password"), 401, "invalid_credentials").await;
    refused("password of 50,000 bytes", token("student1", &"x".repeat(50_000)), 401, "invalid_credentials")
        .await;
    let form = |body: &'static [u8]| {
        api.anonymous(Method::POST, "/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
    };
    refused("no password", form(b"username=student1"), 422, "invalid_request").await;
    refused("invalid UTF-8", form(b"username=%FF&password=x"), 400, "malformed_request").await;
    refused("invalid UTF-8, not escaped", form(b"username=\xFF&password=x"), 400, "malformed_request").await;
    let json = api.anonymous(Method::POST, "/token").json(&json!({"username": "student1"}));
    refused("login as JSON", json, 415, "unsupported_media_type").await;

    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let foreign = |algorithm: &str, expires: u64| {
        let part = |text: String| URL_SAFE_NO_PAD.encode(text);
        let header = part(format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#));
        let claims = part(format!(r#"{{"sub":"student1","student_id":1,"iat":1,"exp":{expires}}}"#));
        format!(
            "{header}.{claims}.{}",
            if algorithm == "none" { "" } else { "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" }
        )
    };
    let signed_here = api.anonymous(Method::GET, "/bookings").bearer_auth(signed(now + 600));
    let accepted = signed_here.send().await.unwrap();
    assert_eq!(accepted.status(), StatusCode::OK, "a token signed by this test is valid");
    for (path, method) in
        [("/search?subject=Math", Method::GET), ("/bookings", Method::GET), ("/book", Method::POST)]
    {
        let request = || api.anonymous(method.clone(), path);
        refused("no token", request(), 401, "missing_credentials").await;
        refused("not a token", request().bearer_auth("garbage"), 401, "invalid_token").await;
        refused("alg none", request().bearer_auth(foreign("none", now + 600)), 401, "invalid_token").await;
        refused("expired", request().bearer_auth(signed(now - 1)), 401, "token_expired").await;
        refused(
            "signed with another key",
            request().bearer_auth(foreign("HS256", now + 600)),
            401,
            "invalid_token",
        )
        .await;
        refused(
            "token that is not ASCII",
            request().header("authorization", &b"Bearer \xFF\xFE"[..]),
            401,
            "invalid_token",
        )
        .await;
    }
}

async fn bad_bookings(api: &Api) {
    for (what, body, status, code) in [
        ("invalid JSON", "{", 400, "malformed_request"),
        ("empty body", "", 400, "malformed_request"),
        ("array", "[]", 422, "invalid_request"),
        ("missing member", r#"{"student_id":1}"#, 422, "invalid_request"),
        ("wrong type", r#"{"student_id":1,"tutor_id":true}"#, 422, "invalid_request"),
        ("word as an id", r#"{"student_id":1,"tutor_id":"Alice"}"#, 422, "invalid_request"),
        ("fraction as an id", r#"{"student_id":1,"tutor_id":1.5}"#, 422, "invalid_request"),
        ("id beyond 64 bits", r#"{"student_id":1,"tutor_id":99999999999999999999}"#, 422, "invalid_request"),
        ("another student", r#"{"student_id":2,"tutor_id":1}"#, 403, "forbidden_student"),
        ("unknown tutor", r#"{"student_id":1,"tutor_id":424242}"#, 404, "tutor_not_found"),
        ("negative tutor", r#"{"student_id":1,"tutor_id":-1}"#, 404, "tutor_not_found"),
    ] {
        refused(what, api.book(body), status, code).await;
    }
    refused("invalid UTF-8", api.book(&b"{\"student_id\":\"\xFF\"}"[..]), 400, "malformed_request").await;
    let deep = "[".repeat(50_000);
    refused("50,000 nested arrays", api.book(deep), 422, "invalid_request").await;
    refused("body of 100 kB", api.book("x".repeat(100_000)), 413, "body_too_large").await;
    refused("body of 3 MiB", api.book("x".repeat(3 << 20)), 413, "body_too_large").await;
    let json = api.anonymous(Method::POST, "/token").header("content-type", "application/json");
    refused("large login as JSON", json.body("x".repeat(500_000)), 415, "unsupported_media_type").await;
    let without_token = api.anonymous(Method::POST, "/book").body("x".repeat(500_000));
    refused("large body without a token", without_token, 401, "missing_credentials").await;
    let bearer = format!("authorization: Bearer {}\r\n", api.token());
    assert_eq!(stream_20_mib(api, "/book", &bearer).await, "HTTP/1.1 413 Payload Too Large");
    assert_eq!(stream_20_mib(api, "/book", "").await, "HTTP/1.1 401 Unauthorized");
    assert_eq!(stream_20_mib(api, "/nowhere", "").await, "HTTP/1.1 404 Not Found");
    let text = api.request(Method::POST, "/book").header("content-type", "text/plain").body("{}");
    refused("plain text", text, 415, "unsupported_media_type").await;
}

/// Sends a body of 20 MiB in chunks and then reads the status line.
async fn stream_20_mib(api: &Api, path: &str, header: &str) -> String {
    let address = api.address();
    let mut stream = BufStream::new(TcpStream::connect(address).await.unwrap());
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ntransfer-encoding: chunked\r\n{header}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("100000\r\n{}\r\n", "x".repeat(1 << 20));
    for _ in 0..20 {
        stream.write_all(chunk.as_bytes()).await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    stream.flush().await.unwrap();
    let mut status = String::new();
    stream.read_line(&mut status).await.unwrap();
    status.trim_end().to_owned()
}

async fn bad_searches(api: &Api) {
    let search = |query: &str| api.request(Method::GET, &format!("/search{query}"));
    refused("no subject", search(""), 400, "missing_subject").await;
    refused("empty subject", search("?subject="), 400, "missing_subject").await;
    refused("NUL in a subject", search("?subject=Ma%00th"), 400, "invalid_subject").await;
    refused("invalid UTF-8", search("?subject=%C3%28"), 400, "malformed_request").await;
    refused(
        "subject of 5,000 bytes",
        search(&format!("?subject={}", "x".repeat(5000))),
        400,
        "invalid_subject",
    )
    .await;
    let sql = search("?subject=Math%27%3B+DROP+TABLE+tutors%3B--").send().await.unwrap();
    assert_eq!(sql.status(), StatusCode::OK);
    let found: Value = sql.json().await.unwrap();
    assert_eq!(found["data"], json!([]), "SQL in a subject is treated as text");
    let bookings = |query: &str| api.request(Method::GET, &format!("/bookings{query}"));
    refused("limit that is not a number", bookings("?limit=ten"), 400, "malformed_request").await;
    refused("negative limit", bookings("?limit=-1"), 400, "malformed_request").await;
}

async fn bad_paths(api: &Api) {
    let path = |method: Method, path: &str| api.request(method, path);
    refused("unknown path", path(Method::GET, "/admin"), 404, "not_found").await;
    refused("internal path", path(Method::GET, "/users/student1"), 404, "not_found").await;
    refused("wrong method", path(Method::DELETE, "/search"), 405, "method_not_allowed").await;
    refused("wrong method", path(Method::GET, "/token"), 405, "method_not_allowed").await;
}
