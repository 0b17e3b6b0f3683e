//! Tutors of a subject and the list of subjects, both through the cache.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::value::RawValue;

use super::token::Caller;
use super::{Gateway, json};
use crate::api::{Subjects, Tutors};
use crate::error::{Code, Problem, Result};
use crate::extract;

const MAX_SUBJECT_CHARS: usize = 100;

/// Key of the list of subjects in the cache. The keys of searches have a prefix.
const SUBJECTS_KEY: &str = "subjects";

pub(super) async fn search(State(gateway): State<Arc<Gateway>>, _: Caller, uri: Uri) -> Result<Response> {
    let query = extract::query(&uri)?;
    let subject = subject(&query)?;
    let query = query_tutors(&gateway, subject);
    let answer = gateway.cache.read_or_query(&key(subject), gateway.search_ttl_seconds, query).await?;
    // The value is JSON already, so it is copied into the reply without being parsed.
    let cached: &[u8] = if answer.cached { b"true" } else { b"false" };
    Ok(json([b"{\"cached\":", cached, b",\"data\":", answer.value.as_ref(), b"}"].concat()))
}

pub(super) async fn subjects(State(gateway): State<Arc<Gateway>>) -> Result<Response> {
    let query = async {
        let reply = gateway.search.get("/subjects", "/subjects").await?;
        // Parsed as a check: another reply must not reach the caller or the cache.
        reply.json::<Subjects>()?;
        Ok(reply.body)
    };
    let answer = gateway.cache.read_or_query(SUBJECTS_KEY, gateway.search_ttl_seconds, query).await?;
    Ok(json(answer.value))
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
    key
}

async fn query_tutors(gateway: &Gateway, subject: &str) -> Result<Bytes> {
    let query = utf8_percent_encode(subject, NON_ALPHANUMERIC);
    let result = gateway.search.get("/search", &format!("/search?subject={query}")).await?;
    let tutors: Tutors<&RawValue> = match result.status {
        StatusCode::OK => serde_json::from_slice(&result.body).map_err(Problem::internal)?,
        _ => return Err(result.json::<serde::de::IgnoredAny>().err().unwrap_or(Code::Internal.into())),
    };
    Ok(result.body.slice_ref(tutors.data.get().as_bytes()))
}
