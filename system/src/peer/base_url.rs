//! The addresses of a peer in a setting: one or several base URLs.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::uri::Authority;
use telemetry::arguments::{ParseError, base_url};

use crate::settings::CommaSeparated;

/// Base URL of a peer, `http://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaseUrl(Authority);

impl BaseUrl {
    /// Returns host and port.
    pub(crate) fn authority(&self) -> &Authority {
        &self.0
    }

    /// Returns the host, without the brackets of an IPv6 address.
    pub(crate) fn host(&self) -> &str {
        self.0.host().trim_matches(['[', ']'])
    }

    /// Returns the port.
    pub(crate) fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(80)
    }

    /// Returns the address of a URL without a name.
    pub(super) fn literal(&self) -> Option<SocketAddr> {
        let ip: IpAddr = self.host().parse().ok()?;
        Some(SocketAddr::new(ip, self.port()))
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

/// Base URLs of one peer, separated by commas: at least one. A name among them may have several addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaseUrls(Vec<BaseUrl>);

impl BaseUrls {
    /// Returns the URLs in the order of the setting.
    pub(crate) fn as_slice(&self) -> &[BaseUrl] {
        &self.0
    }
}

impl FromStr for BaseUrls {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let CommaSeparated(urls) = text.parse()?;
        if urls.is_empty() { Err(ParseError::BaseUrl) } else { Ok(Self(urls)) }
    }
}

impl fmt::Display for BaseUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, url) in self.0.iter().enumerate() {
            write!(f, "{}{url}", if position == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_at_least_one_url() {
        let urls: BaseUrls = "http://a:1, http://[::1]:2/".parse().unwrap();
        assert_eq!(urls.to_string(), "http://a:1,http://[::1]:2");
        assert_eq!((urls.as_slice()[1].host(), urls.as_slice()[1].port()), ("::1", 2));
        for bad in ["", ",", "http://a:1,nonsense"] {
            assert!(bad.parse::<BaseUrls>().is_err(), "{bad}");
        }
    }
}
