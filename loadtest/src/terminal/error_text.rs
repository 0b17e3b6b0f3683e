//! An error and its causes as one sentence.

use std::error::Error;
use std::io;

/// Causes that only name a layer of the HTTP client; the cause below them says what happened.
const LAYERS: [&str; 3] = ["client error (", "tcp connect error", "dns error"];

/// Returns the error, then its causes, separated by colons. Each cause appears once, and without the number of the
/// operating system's error.
pub(crate) fn describe(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = sentence(cause, &text);
        // Many errors contain the text of their source.
        if cause.is_empty() || text.to_lowercase().contains(&cause.to_lowercase()) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    text
}

/// Returns the text of an error of the operating system, such as "address already in use".
pub(crate) fn os_reason(error: &io::Error) -> String {
    let text = without_numbers(&error.to_string());
    let mut rest = text.chars();
    // An abbreviation such as "TLS" keeps its capitals.
    match (rest.next(), rest.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => first.to_lowercase().chain(rest).collect(),
        _ => text,
    }
}

/// Returns the text of one cause; `above` is the text of the errors that it caused.
fn sentence(cause: &(dyn Error + 'static), above: &str) -> String {
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        return os_reason(error);
    }
    if let Some(error) = cause.downcast_ref::<reqwest::Error>() {
        return http(error, above);
    }
    let text = without_numbers(&cause.to_string());
    if LAYERS.iter().any(|layer| text.starts_with(layer)) { String::new() } else { text }
}

/// Returns what happened to a request. The URL is left out if the text above contains its address already.
fn http(error: &reqwest::Error, above: &str) -> String {
    let url = error.url().map(|url| url.as_str().trim_end_matches('/')).unwrap_or_default();
    let address = error.url().map(|url| url.origin().ascii_serialization()).unwrap_or_default();
    let known = above.contains(&address);
    match error.status() {
        Some(status) => format!("{url} returned {status}"),
        None if error.is_timeout() && known => "no reply in time".to_owned(),
        None if error.is_timeout() => format!("no reply from {url} in time"),
        None if (error.is_connect() || error.is_request()) && known => String::new(),
        None if error.is_connect() || error.is_request() => format!("no reply from {url}"),
        None if error.is_decode() => format!("cannot read the reply from {url}"),
        None if error.is_body() => format!("the reply from {url} ended early"),
        None => without_numbers(&error.to_string()),
    }
}

/// Removes every ` (os error N)`.
fn without_numbers(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(part.split_once(')').map_or(part, |(_, rest)| rest));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use anyhow::Context as _;

    use super::*;
    use crate::http_client;

    /// An error whose text contains that of its source, as many libraries write them.
    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the store: {0}")]
    struct Repeating(#[source] io::Error);

    #[test]
    fn names_each_cause_once_and_without_its_number() {
        let not_found = || io::Error::from_raw_os_error(2);
        let error = anyhow::Error::new(Repeating(not_found())).context("cannot start");
        assert_eq!(describe(&error), "cannot start: cannot open the store: No such file or directory");
        let error = anyhow::Error::new(not_found()).context("cannot read a.json");
        assert_eq!(describe(&error), "cannot read a.json: no such file or directory");
    }

    #[tokio::test]
    async fn says_why_a_server_does_not_reply() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let request = http_client::builder().build().unwrap().get(format!("http://{closed}/health"));
        let error = request.send().await.unwrap_err();
        let alone = describe(&error.into());
        assert_eq!(alone, format!("no reply from http://{closed}/health: connection refused"));
        let request = http_client::builder().build().unwrap().get(format!("http://{closed}/health"));
        let with_address = request.send().await.with_context(|| format!("no system at http://{closed}"));
        let with_address = describe(&with_address.unwrap_err());
        assert_eq!(with_address, format!("no system at http://{closed}: connection refused"));
    }
}
