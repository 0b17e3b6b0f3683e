//! The HTTP client of the workbench, and the addresses that it accepts.

use reqwest::Url;

/// Returns the builder of a client that connects directly. `http_proxy` and similar variables do not apply: a proxy is not
/// able to reach loopback addresses or a compose network, and its latency would be measured as the system's. Redirects are not
/// followed: another host must not receive the trace secret.
#[expect(clippy::disallowed_methods, reason = "the one place that creates a client")]
pub(crate) fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none())
}

/// Parses the URL of a server and removes slashes at its end. Without a scheme, `http://` is assumed.
pub(crate) fn server_url(text: &str) -> Result<String, String> {
    const EXPECTED: &str = "expected http://HOST:PORT";
    let url = if text.contains("://") { text.trim().to_owned() } else { format!("http://{}", text.trim()) };
    let parsed: Url = url.parse().map_err(|_| EXPECTED.to_owned())?;
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() || parsed.port() == Some(0) {
        return Err(EXPECTED.into());
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(format!("{EXPECTED} without a user name: reports contain the address"));
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(format!("{EXPECTED} without a query"));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// Parses the URL of an OTLP/gRPC receiver like [`server_url`]; empty is none.
pub(crate) fn otlp_grpc_url(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    telemetry::arguments::base_url(&server_url(text)?).map_err(|_| "expected http://HOST:PORT".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assumes_http_without_a_scheme() {
        assert_eq!(server_url("127.0.0.1:8000").unwrap(), "http://127.0.0.1:8000");
        assert_eq!(server_url("localhost").unwrap(), "http://localhost");
        assert_eq!(server_url("[::1]:8000/").unwrap(), "http://[::1]:8000");
        assert_eq!(server_url("https://host/base/").unwrap(), "https://host/base");
        assert_eq!(otlp_grpc_url("127.0.0.1:4317").unwrap(), "http://127.0.0.1:4317");
        assert_eq!(otlp_grpc_url("").unwrap(), "");
    }

    #[test]
    fn rejects_other_addresses() {
        for text in ["", "http://", "ftp://host", "host:port", "host:0", "http://me:secret@host", "host/?a=b"]
        {
            let error = server_url(text).unwrap_err();
            assert!(error.starts_with("expected http://HOST:PORT") && !error.contains("secret"), "{error}");
        }
        otlp_grpc_url("https://host:4317").unwrap_err();
        otlp_grpc_url("http://host:4317/v1/traces").unwrap_err();
    }
}
