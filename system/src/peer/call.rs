//! One call of a peer and its span.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Serialize;
use telemetry::client::ClientSpan;

use crate::error::Problem;

/// One call, which may take several attempts.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// The peer's template of `path`, for the span.
    pub(super) route: &'static str,
    pub(super) path: &'a str,
    pub(super) body: Bytes,
    /// A header of the caller that the peer needs.
    pub(super) header: Option<(HeaderName, HeaderValue)>,
    pub(super) is_traced: bool,
    /// Whether 404 means that there is no such value.
    pub(super) is_lookup: bool,
    /// Whether the call changes nothing, so that it may be repeated.
    pub(super) is_safe: bool,
}

impl<'a> Call<'a> {
    pub(super) fn get(route: &'static str, path: &'a str) -> Self {
        Self {
            method: Method::GET,
            route,
            path,
            body: Bytes::new(),
            header: None,
            is_traced: true,
            is_lookup: false,
            is_safe: true,
        }
    }

    pub(super) fn post<T: Serialize>(route: &'static str, path: &'a str, body: &T) -> Result<Self, Problem> {
        let body = serde_json::to_vec(body).map_err(Problem::internal)?.into();
        Ok(Self {
            method: Method::POST,
            route,
            path,
            body,
            header: None,
            is_traced: true,
            is_lookup: false,
            is_safe: false,
        })
    }

    /// Returns the method as text that lives as long as the program, for the span.
    pub(super) fn method_name(&self) -> &'static str {
        match self.method {
            Method::GET => "GET",
            Method::DELETE => "DELETE",
            _ => "POST",
        }
    }
}

/// A CLIENT span that ends with the error `timeout` if the deadline drops the call.
pub(super) struct CallSpan(pub(super) Option<ClientSpan>);

impl CallSpan {
    pub(super) fn finish(&mut self, call: &Call<'_>, status: StatusCode, headers: &HeaderMap) {
        match self.0.take() {
            Some(span) if call.is_lookup => span.finish_lookup(status, headers),
            Some(span) => span.finish(status, headers),
            None => {}
        }
    }

    pub(super) fn fail(&mut self, error_type: &'static str) {
        if let Some(span) = self.0.take() {
            span.fail(error_type);
        }
    }
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        self.fail("timeout");
    }
}
