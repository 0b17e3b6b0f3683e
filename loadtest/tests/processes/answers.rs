//! The main answers of the public API, as snapshots.

use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use sqlx::Connection as _;

use crate::harness::{Api, Stack, eventually_without};

/// The JSON of a reply; the values of `variable` members are replaced by the name of the member.
async fn answer(request: RequestBuilder, variable: &[&str]) -> Value {
    let reply = request.send().await.unwrap().error_for_status().unwrap();
    let mut json = reply.json().await.unwrap();
    redact(&mut json, variable);
    json
}

fn redact(json: &mut Value, variable: &[&str]) {
    match json {
        Value::Object(members) => {
            for (name, value) in members {
                if variable.contains(&name.as_str()) && !value.is_null() {
                    *value = Value::String(format!("[{name}]"));
                } else {
                    redact(value, variable);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redact(item, variable)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_match_the_snapshots() {
    let stack = Stack::start_small();
    let api = Api::log_in(&stack).await;
    let log_in =
        api.anonymous(Method::POST, "/token").form(&[("username", "student1"), ("password", "password")]);
    insta::assert_json_snapshot!("token", answer(log_in, &["access_token"]).await);
    let search = || api.request(Method::GET, "/search?subject=Math");
    insta::assert_json_snapshot!("search", answer(search(), &[]).await);
    insta::assert_json_snapshot!("search_cached", answer(search(), &[]).await);
    let any_case = api.request(Method::GET, "/search?subject=mATH");
    insta::assert_json_snapshot!("search_cached", answer(any_case, &[]).await);
    insta::assert_json_snapshot!("subjects", answer(api.anonymous(Method::GET, "/subjects"), &[]).await);
    let booking = api.book(r#"{"student_id":1,"tutor_id":1}"#);
    insta::assert_json_snapshot!("book", answer(booking, &["starts_at", "ends_at"]).await);
    let bookings = async || {
        let request = api.request(Method::GET, "/bookings");
        answer(request, &["created_at", "starts_at", "ends_at", "trace_id", "notified_at"]).await
    };
    eventually_without(|| async {
        let bookings = bookings().await;
        bookings["bookings"][0]["notified_at"].is_null().then(|| format!("not notified: {bookings}"))
    })
    .await;
    insta::assert_json_snapshot!("bookings", bookings().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_is_found_in_any_case_and_listed_once() {
    let stack = Stack::start_small();
    let api = Api::log_in(&stack).await;
    let mut database = sqlx::PgConnection::connect(&stack.addresses.database_url).await.unwrap();
    sqlx::query(
        "INSERT INTO tutors (id, name, subject, rating) VALUES
         (11, 'Eva', 'math', 4.8), (12, 'Uwe', 'Straßenbau', 4.0), (13, 'Lea', 'Ψυχολογίας', 4.1)",
    )
    .execute(&mut database)
    .await
    .unwrap();
    for (subject, tutors) in [
        ("MATH", &["Alice", "Eva"][..]),
        ("strassenbau", &["Uwe"]),
        ("STRASSENBAU", &["Uwe"]),
        ("ψυχολογίας", &["Lea"]),
        ("ΨΥΧΟΛΟΓΊΑΣ", &["Lea"]),
        ("Mat", &[]),
        ("M_th", &[]),
    ] {
        let path = format!("/search?subject={subject}");
        let found = answer(api.request(Method::GET, &path), &[]).await;
        let names: Vec<&str> =
            found["data"].as_array().unwrap().iter().map(|tutor| tutor["name"].as_str().unwrap()).collect();
        assert_eq!(names, tutors, "{subject}");
    }
    let subjects = answer(api.anonymous(Method::GET, "/subjects"), &[]).await;
    let listed: Vec<(&str, i64)> = subjects["subjects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|subject| (subject["subject"].as_str().unwrap(), subject["tutors"].as_i64().unwrap()))
        .collect();
    assert_eq!(listed, [("Math", 2), ("Science", 1), ("Straßenbau", 1), ("Ψυχολογίας", 1)]);
}
