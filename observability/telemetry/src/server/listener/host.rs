//! Rejects requests whose `Host` is missing, repeated or malformed (RFC 9112, section 3.2).

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, Version, header};
use axum::response::Response;

/// Returns the 400 for a request without exactly one valid `Host`. HTTP/1.0 does not require the header.
pub(super) fn refusal<B>(request: &Request<B>) -> Option<Response> {
    let detail = problem(request.version(), request.headers())?;
    let body = format!(
        r#"{{"type":"about:blank","title":"Bad Request","status":400,"code":"malformed_request","detail":"{detail}"}}"#
    );
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let media_type = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    Some(response)
}

fn problem(version: Version, headers: &HeaderMap) -> Option<&'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_10 => None,
        (None, _) => Some("The request has no Host header."),
        (Some(_), Some(_)) => Some("The request has several Host headers."),
        (Some(host), None) if is_authority(host.as_bytes()) => None,
        (Some(_), None) => Some("The Host header is not valid."),
    }
}

/// Returns whether `host` consists of characters of a host and port (RFC 3986, section 3.2), without user information.
fn is_authority(host: &[u8]) -> bool {
    !host.is_empty()
        && host.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_exactly_one_valid_host() {
        for (version, hosts, accepted) in [
            (Version::HTTP_11, &["localhost:8000"][..], true),
            (Version::HTTP_11, &["[::1]:8000"], true),
            (Version::HTTP_11, &[], false),
            (Version::HTTP_11, &["a", "a"], false),
            (Version::HTTP_11, &[""], false),
            (Version::HTTP_11, &["a b"], false),
            (Version::HTTP_11, &["user@a"], false),
            (Version::HTTP_11, &["a/b"], false),
            (Version::HTTP_10, &[], true),
            (Version::HTTP_10, &["a", "b"], false),
        ] {
            let mut request = Request::builder().version(version);
            for host in hosts {
                request = request.header("host", *host);
            }
            let refused = refusal(&request.body(()).unwrap());
            assert_eq!(refused.is_none(), accepted, "{version:?} {hosts:?}");
        }
    }
}
