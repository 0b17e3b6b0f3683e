//! Cache-aside search: reads the cache first; on a miss, calls search and stores the result in the cache.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::value::RawValue;

use super::flight::Flight;
use super::token::Caller;
use super::{Gateway, json};
use crate::api::{CacheEntry, SearchReply, Subjects, Tutors};
use crate::error::{Code, Problem, Result};
use crate::extract;

const MAX_SUBJECT_CHARS: usize = 100;

/// Key of the list of subjects in the cache. The keys of searches have a prefix.
const SUBJECTS_KEY: &str = "subjects";

pub(super) async fn search(State(gateway): State<Arc<Gateway>>, _: Caller, uri: Uri) -> Result<Response> {
    let query = extract::query(&uri)?;
    let subject = subject(&query)?;
    let key = key(subject);
    let seat = gateway.flights.join(&key);
    cached_or_queried(&gateway, subject, &key, &seat.flight).await
}

pub(super) async fn subjects(State(gateway): State<Arc<Gateway>>) -> Result<Response> {
    let seat = gateway.flights.join(SUBJECTS_KEY);
    if let Some(subjects) = cached(&gateway, SUBJECTS_KEY).await {
        return Ok(json(Box::<str>::from(subjects).into_string()));
    }
    let query = async {
        let reply = gateway.search.get("/subjects", "/subjects").await?;
        // Parsed as a check: another reply must not reach the caller or the cache.
        reply.json::<Subjects>()?;
        store(&gateway, SUBJECTS_KEY, serde_json::from_slice(&reply.body).map_err(Problem::internal)?).await;
        Ok(reply.body)
    };
    seat.flight.answer(query).await.map(json)
}

fn subject(query: &[(String, String)]) -> Result<&str> {
    let subject = extract::value(query, "subject").map(str::trim).filter(|subject| !subject.is_empty());
    let subject = subject.ok_or(Code::MissingSubject)?;
    if subject.chars().count() > MAX_SUBJECT_CHARS || subject.contains(char::is_control) {
        return Err(Code::InvalidSubject.into());
    }
    Ok(subject)
}

/// Returns the key of the tutors of `subject` in the cache. Spellings that differ only in case have one key.
fn key(subject: &str) -> String {
    let mut key = String::from("search:");
    if subject.is_ascii() {
        key.extend(subject.chars().map(|letter| letter.to_ascii_lowercase()));
    } else {
        // As the search service compares subjects: the upper case of `ß` is `SS`.
        key.push_str(&subject.to_uppercase().to_lowercase());
    }
    utf8_percent_encode(&key, NON_ALPHANUMERIC).to_string()
}

async fn cached_or_queried(gateway: &Gateway, subject: &str, key: &str, flight: &Flight) -> Result<Response> {
    if let Some(tutors) = cached(gateway, key).await {
        return reply(true, &tutors);
    }
    let queried = flight.answer(query_tutors(gateway, subject, key)).await?;
    let tutors: Tutors<&RawValue> = serde_json::from_slice(&queried).map_err(Problem::internal)?;
    reply(false, tutors.data)
}

/// Returns the cached value. A cache that fails counts as a miss: the search is slower, but does not fail.
async fn cached(gateway: &Gateway, key: &str) -> Option<Box<RawValue>> {
    let reply = gateway.cache.look_up("/get/{key}", &format!("/get/{key}")).await.ok()?;
    if reply.status != StatusCode::OK {
        return None;
    }
    serde_json::from_slice::<CacheEntry>(&reply.body).ok().map(|entry| entry.value)
}

async fn query_tutors(gateway: &Gateway, subject: &str, key: &str) -> Result<Bytes> {
    let query = utf8_percent_encode(subject, NON_ALPHANUMERIC);
    let result = gateway.search.get("/search", &format!("/search?subject={query}")).await?;
    let tutors: Tutors<&RawValue> = match result.status {
        StatusCode::OK => serde_json::from_slice(&result.body).map_err(Problem::internal)?,
        _ => return Err(result.json::<serde::de::IgnoredAny>().err().unwrap_or(Code::Internal.into())),
    };
    store(gateway, key, tutors.data).await;
    Ok(result.body)
}

/// Stores a result. If the cache fails, the next request queries again; this one still succeeds.
async fn store(gateway: &Gateway, key: &str, value: &RawValue) {
    let entry = CacheEntry { value, ttl_seconds: Some(gateway.search_ttl_seconds) };
    if let Ok(reply) = gateway.cache.post("/set/{key}", &format!("/set/{key}"), &entry).await
        && reply.status != StatusCode::OK
    {
        tracing::warn!(status = reply.status.as_u16(), key, "the cache did not store a result");
    }
}

fn reply(cached: bool, tutors: &RawValue) -> Result<Response> {
    let reply = SearchReply { cached, data: tutors };
    Ok(json(serde_json::to_vec(&reply).map_err(Problem::internal)?))
}
