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
use crate::api::{CacheEntry, SearchReply, Tutors};
use crate::error::{Code, Problem, Result};
use crate::extract;

const MAX_SUBJECT_CHARS: usize = 100;

pub(super) async fn search(State(gateway): State<Arc<Gateway>>, _: Caller, uri: Uri) -> Result<Response> {
    let query = extract::query(&uri)?;
    let subject = subject(&query)?;
    let seat = gateway.flights.join(subject);
    cached_or_queried(&gateway, subject, &seat.flight).await
}

fn subject(query: &[(String, String)]) -> Result<&str> {
    let subject = extract::value(query, "subject").map(str::trim).filter(|subject| !subject.is_empty());
    let subject = subject.ok_or(Code::MissingSubject)?;
    if subject.chars().count() > MAX_SUBJECT_CHARS || subject.contains(char::is_control) {
        return Err(Code::InvalidSubject.into());
    }
    Ok(subject)
}

async fn cached_or_queried(gateway: &Gateway, subject: &str, flight: &Flight) -> Result<Response> {
    let key = utf8_percent_encode(&format!("search:{subject}"), NON_ALPHANUMERIC).to_string();
    if let Some(tutors) = cached(gateway, &key).await {
        return reply(true, &tutors);
    }
    let queried = flight.answer(query_tutors(gateway, subject, &key)).await?;
    let tutors: Tutors<&RawValue> = serde_json::from_slice(&queried).map_err(Problem::internal)?;
    reply(false, tutors.data)
}

/// Returns the cached tutors. A cache that fails counts as a miss: the search is slower, but does not fail.
async fn cached(gateway: &Gateway, key: &str) -> Option<Box<RawValue>> {
    let reply = gateway.cache.get("/get/{key}", &format!("/get/{key}")).await.ok()?;
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
    let entry = CacheEntry { value: tutors.data, ttl_seconds: Some(gateway.search_ttl_seconds) };
    // If the cache does not store the result, the next search queries again; this one still succeeds.
    if let Ok(reply) = gateway.cache.post("/set/{key}", &format!("/set/{key}"), &entry).await
        && reply.status != StatusCode::OK
    {
        tracing::warn!(status = reply.status.as_u16(), subject, "the cache did not store a result");
    }
    Ok(result.body)
}

fn reply(cached: bool, tutors: &RawValue) -> Result<Response> {
    let reply = SearchReply { cached, data: tutors };
    Ok(json(serde_json::to_vec(&reply).map_err(Problem::internal)?))
}
