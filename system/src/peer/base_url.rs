//! The addresses of a peer in a setting: base URLs.

use std::fmt;
use std::str::FromStr;

use http::uri::Authority;
use telemetry::arguments::{ParseError, base_url};

/// Base URL of a peer, `http://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaseUrl(Authority);

impl BaseUrl {
    /// Returns host and port.
    pub(crate) fn authority(&self) -> &Authority {
        &self.0
    }
}

impl FromStr for BaseUrl {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let url = base_url(text)?;
        url.trim_start_matches("http://").parse().map(Self).map_err(|_| ParseError::BaseUrl)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0)
    }
}
