//! The header fields that change between the caller and a gateway (RFC 9110, section 7.6; RFC 9112, section 3.2).

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use telemetry::contract;

use crate::api::FORWARDED_FOR;

/// Fields that belong to one connection and are not forwarded.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Prepares the head of a request for a gateway.
pub(super) fn prepare_request(head: &mut http::request::Parts) {
    let headers = &mut head.headers;
    strip(headers);
    // hyper sends `100 Continue` when the body is first read; the gateway must not expect it again.
    headers.remove(header::EXPECT);
    headers.remove(contract::TRACE_SECRET);
    if let Some(host) = head.uri.authority().and_then(|target| HeaderValue::from_str(target.as_str()).ok()) {
        headers.insert(header::HOST, host);
    }
    let via = if head.version == Version::HTTP_10 { "1.0 load_balancer" } else { "1.1 load_balancer" };
    append(headers, header::VIA, HeaderValue::from_static(via));
    let peer = head.extensions.get::<ConnectInfo<SocketAddr>>();
    if let Some(peer) = peer.and_then(|ConnectInfo(peer)| peer.ip().to_string().try_into().ok()) {
        append(headers, FORWARDED_FOR, peer);
    }
}

/// Prepares the head of a reply for the caller.
pub(super) fn prepare_response(head: &mut http::response::Parts) {
    // The version of a message is that of the program that sends it.
    head.version = Version::HTTP_11;
    strip(&mut head.headers);
    if head.status == StatusCode::NO_CONTENT {
        head.headers.remove(header::CONTENT_LENGTH);
    }
}

/// Appends `item` to a list, whose lines become one (RFC 9110, section 5.3).
fn append(headers: &mut HeaderMap, name: HeaderName, item: HeaderValue) {
    let lines = headers.get_all(&name).iter().map(HeaderValue::as_bytes).filter(|line| !line.is_empty());
    let lines: Vec<&[u8]> = lines.collect();
    let list = match lines.is_empty() {
        true => Ok(item),
        false => [&lines[..], &[item.as_bytes()]].concat().join(&b", "[..]).try_into(),
    };
    if let Ok(list) = list {
        headers.insert(name, list);
    }
}

/// Removes the fields that belong to this connection: [`HOP_BY_HOP`] and those that `Connection` lists.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_one_connection_are_not_forwarded() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("connection", "x-mine, close"), ("x-mine", "1"), ("keep-alive", "timeout=5"), ("x-yours", "1")]
        {
            headers.append(name, HeaderValue::from_static(value));
        }
        strip(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-yours"]);
    }
}
