//! Extractors: parse requests into typed values, or reject them with a problem that says why.

mod form;
mod idempotency_key;

use std::borrow::Cow;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::BytesMut;
use chrono::{DateTime, Utc};
use http_body_util::BodyExt as _;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::api;
use crate::error::{Code, Problem, Result};

pub(crate) use form::Form;
pub(crate) use idempotency_key::IdempotencyKey;

/// Default limit of a request body, in bytes. No public request needs more.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;

/// A JSON body of at most `LIMIT` bytes.
#[derive(Debug)]
pub(crate) struct Json<T, const LIMIT: usize = MAX_BODY_BYTES>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned, const LIMIT: usize> FromRequest<S> for Json<T, LIMIT> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        require_media_type(request.headers(), "application/json")?;
        let body = read_body(request.into_body(), LIMIT).await?;
        match parse_json(&body) {
            Err(problem) if problem.code() == Code::MalformedRequest => Err(problem),
            // serde would accept an array of the right length as well.
            _ if !body.trim_ascii_start().starts_with(b"{") => {
                Err(Problem::with_detail(Code::InvalidRequest, "The body must be a JSON object."))
            }
            parsed => parsed.map(Self),
        }
    }
}

/// Parses JSON.
///
/// # Errors
///
/// `malformed_request` if the text is not JSON, `invalid_request` if it is JSON of another form.
pub(crate) fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        let code =
            if error.classify() == Category::Data { Code::InvalidRequest } else { Code::MalformedRequest };
        Problem::with_detail(code, error.to_string())
    })
}

/// The only variable of the path. Must be UTF-8.
#[derive(Debug)]
pub(crate) struct Path(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Path {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(variable)| Self(variable)).map_err(|_| not_utf8())
    }
}

/// Parses the query into (name, value) pairs. Must be UTF-8.
pub(crate) fn query(uri: &axum::http::Uri) -> Result<Vec<(String, String)>> {
    parse_pairs(uri.query().unwrap_or_default())
}

/// Returns the value of `name` in `pairs`. Of several values, the last one counts, as in the original system.
pub(crate) fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().rfind(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Returns the value of `name` as a number, or `None` if there is no value.
pub(crate) fn number<T: std::str::FromStr>(pairs: &[(String, String)], name: &str) -> Result<Option<T>> {
    let Some(text) = value(pairs, name) else { return Ok(None) };
    let number = text
        .parse()
        .map_err(|_| Problem::with_detail(Code::MalformedRequest, format!("`{name}` must be an integer.")))?;
    Ok(Some(number))
}

/// Returns the value of `name` as an instant, or `None` if there is no value.
pub(crate) fn instant(pairs: &[(String, String)], name: &str) -> Result<Option<DateTime<Utc>>> {
    let Some(text) = value(pairs, name) else { return Ok(None) };
    let malformed = || {
        let form = "must be an RFC 3339 time with an offset, such as 2026-12-01T09:00:00Z (write `+` as %2B)";
        Problem::with_detail(Code::MalformedRequest, format!("`{name}` {form}."))
    };
    api::parse_instant(text).map(Some).ok_or_else(malformed)
}

/// Reads a body to its end. Rejects more than `limit` bytes.
async fn read_body(mut body: Body, limit: usize) -> Result<Bytes> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| incomplete_body())?.into_data() else { continue };
        if read.len() + data.len() > limit {
            return Err(Code::BodyTooLarge.into());
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

/// Returns the problem of a caller that closes its connection in the middle of the body.
pub(crate) fn incomplete_body() -> Problem {
    Problem::with_detail(Code::MalformedRequest, "The body is incomplete.")
}

/// Rejects another media type than `wanted`. A missing one is accepted, because the original system did not require it.
fn require_media_type(headers: &HeaderMap, wanted: &str) -> Result<()> {
    if media_type(headers).is_none_or(|given| given.eq_ignore_ascii_case(wanted)) {
        Ok(())
    } else {
        Err(Problem::with_detail(
            Code::UnsupportedMediaType,
            format!("The media type of the body must be {wanted}."),
        ))
    }
}

/// Returns the media type of the body, without parameters.
fn media_type(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get(header::CONTENT_TYPE)?;
    given.to_str().unwrap_or_default().split(';').next().map(str::trim)
}

/// Parses `application/x-www-form-urlencoded`. Rejects invalid UTF-8, which `form_urlencoded` would replace: a search would
/// then look for another subject.
fn parse_pairs(text: &str) -> Result<Vec<(String, String)>> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}

fn decode(text: &str) -> Result<String> {
    let with_spaces = text.replace('+', " ");
    percent_decode_str(&with_spaces).decode_utf8().map(Cow::into_owned).map_err(|_| not_utf8())
}

fn not_utf8() -> Problem {
    Problem::with_detail(Code::MalformedRequest, "The request is not valid UTF-8.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_and_must_be_utf8() {
        let pairs = parse_pairs("subject=Math&subject=Computer+Science&x=%C3%A9&empty").unwrap();
        assert_eq!(value(&pairs, "subject"), Some("Computer Science"));
        assert_eq!(value(&pairs, "x"), Some("é"));
        assert_eq!(value(&pairs, "empty"), Some(""));
        assert_eq!(parse_pairs("subject=%FF").unwrap_err().code(), Code::MalformedRequest);
    }

    #[test]
    fn malformed_and_invalid_json_differ() {
        assert_eq!(parse_json::<Vec<u8>>(b"[1,").unwrap_err().code(), Code::MalformedRequest);
        assert_eq!(parse_json::<Vec<u8>>(b"\"\xFF\"").unwrap_err().code(), Code::MalformedRequest);
        assert_eq!(parse_json::<Vec<u8>>(b"{}").unwrap_err().code(), Code::InvalidRequest);
    }
}
