//! Checks before a run: the target is reachable and seeded, and the collector is reachable.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use system::api::{SearchReply, Token};
use system::dataset;
use telemetry::client::{ClientRequest, ClientSpan};

use super::{Endpoints, trace_trust};
use crate::collector_client::CollectorClient;

/// Timeout of the connection to the OTLP receiver.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Runs the checks. Errors say what to do.
pub(super) async fn check(
    http: &reqwest::Client,
    collector: &CollectorClient,
    endpoints: &Endpoints,
) -> anyhow::Result<()> {
    let target = endpoints.target.trim_end_matches('/');
    let token = log_in(http, target).await?;
    let subject = dataset::SUBJECTS[0];
    let url = format!("{target}/search?subject={subject}");
    let reply = search(http, endpoints, &url, &token).await?;
    ensure!(reply.status().is_success(), "{url} returned {}", reply.status());
    let found = reply
        .json::<SearchReply>()
        .await
        .with_context(|| format!("{url} is not the search endpoint"))?
        .data
        .len();
    // Compares the number only; the run itself verifies the content.
    let expected = dataset::search(endpoints.tutors, subject).len();
    ensure!(
        found == expected,
        "{target} has {found} tutors of {subject}, a system seeded with {} tutors has {expected}: \
         run `workbench seed --tutors {0} --students {1}` on its database, or pass its number of tutors with --tutors",
        endpoints.tutors,
        endpoints.students,
    );
    collector.hops().await.with_context(|| {
        format!("no collector at {} (set the address with --collector)", endpoints.collector)
    })?;
    receiver(&endpoints.otlp).await
}

/// Searches as a request of the run does, and checks that the target continues the trace if spans are exported.
async fn search(
    http: &reqwest::Client,
    endpoints: &Endpoints,
    url: &str,
    token: &str,
) -> anyhow::Result<reqwest::Response> {
    let parsed = reqwest::Url::parse(url)?;
    let request = ClientRequest {
        method: "GET",
        route: "/search",
        host: parsed.host_str().unwrap_or_default(),
        port: parsed.port_or_known_default().unwrap_or(80),
        url: &url,
    };
    let span = ClientSpan::start(&request, &opentelemetry::Context::new());
    let mut headers = endpoints.trust.headers()?;
    span.inject(&mut headers);
    let reply = http.get(url).headers(headers).bearer_auth(token).send().await?;
    if !endpoints.otlp.is_empty() {
        trace_trust::check(&span, reply.headers(), &endpoints.target)?;
    }
    span.finish(reply.status(), reply.headers());
    Ok(reply)
}

/// Checks that the OTLP receiver accepts connections; without it every trace lacks its root span. An empty URL turns the
/// export off.
async fn receiver(otlp: &str) -> anyhow::Result<()> {
    if otlp.is_empty() {
        return Ok(());
    }
    let missing = || format!("no OTLP receiver at {otlp} (set the address with --otlp)");
    let url = reqwest::Url::parse(otlp).with_context(missing)?;
    let address = url.socket_addrs(|| Some(4317)).with_context(missing)?;
    let connecting = tokio::net::TcpStream::connect(&address[..]);
    tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.with_context(missing)?.with_context(missing)?;
    Ok(())
}

async fn log_in(http: &reqwest::Client, target: &str) -> anyhow::Result<String> {
    let username = dataset::username(1);
    let request = http
        .post(format!("{target}/token"))
        .form(&[("username", username.as_str()), ("password", dataset::PASSWORD)])
        .send();
    let reply =
        request.await.with_context(|| format!("no system at {target} (set the address with --target)"))?;
    match reply.status().as_u16() {
        200 => Ok(reply
            .json::<Token>()
            .await
            .with_context(|| format!("{target}/token is not the log-in endpoint"))?
            .access_token),
        401 => bail!("{target} has no user {username}: run `workbench seed` on its database"),
        status => bail!("{target}/token returned {status}"),
    }
}
