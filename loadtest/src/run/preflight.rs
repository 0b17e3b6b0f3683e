//! Is there a system to load, is it seeded, and is there a collector? Asked once, before anything is measured.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use system::api::{SearchReply, Token};
use system::dataset;

use super::Endpoints;
use crate::collector_client::CollectorClient;

/// The longest that the receiver's port may take to answer.
const RECEIVER_WITHIN: Duration = Duration::from_secs(3);

/// Fails with what to do about it.
pub(super) async fn check(
    http: &reqwest::Client,
    collector: &CollectorClient,
    endpoints: &Endpoints,
) -> anyhow::Result<()> {
    let target = endpoints.target.trim_end_matches('/');
    let token = log_in(http, target).await?;
    let subject = dataset::SUBJECTS[0];
    let url = format!("{target}/search?subject={subject}");
    let reply = http.get(&url).bearer_auth(token).send().await?;
    ensure!(reply.status().is_success(), "{url} answers {}", reply.status());
    let found = reply.json::<SearchReply>().await.with_context(|| format!("{url} is no search"))?.data.len();
    // Their number only: that each of them is right is what the run itself checks.
    let expected = dataset::search(endpoints.tutors, subject).len();
    ensure!(
        found == expected,
        "{target} has {found} tutors of {subject}, a system seeded with {} tutors has {expected}: \
         run `workbench seed --tutors {0} --students {1}` on its database, or say with --tutors how many it has",
        endpoints.tutors,
        endpoints.students,
    );
    collector
        .hops()
        .await
        .with_context(|| format!("no collector at {}; --collector says where it is", endpoints.collector))?;
    receiver(&endpoints.otlp).await
}

/// Without one, every trace would lack the span that it begins with. An empty URL asks for none.
async fn receiver(otlp: &str) -> anyhow::Result<()> {
    if otlp.is_empty() {
        return Ok(());
    }
    let missing = || format!("nobody takes OTLP at {otlp}; --otlp says where");
    let url = reqwest::Url::parse(otlp).with_context(missing)?;
    let address = url.socket_addrs(|| Some(4317)).with_context(missing)?;
    let connecting = tokio::net::TcpStream::connect(&address[..]);
    tokio::time::timeout(RECEIVER_WITHIN, connecting).await.with_context(missing)?.with_context(missing)?;
    Ok(())
}

async fn log_in(http: &reqwest::Client, target: &str) -> anyhow::Result<String> {
    let username = dataset::username(1);
    let request = http
        .post(format!("{target}/token"))
        .form(&[("username", username.as_str()), ("password", dataset::PASSWORD)])
        .send();
    let reply = request.await.with_context(|| format!("no system at {target}; --target says where it is"))?;
    match reply.status().as_u16() {
        200 => Ok(reply
            .json::<Token>()
            .await
            .with_context(|| format!("{target}/token is no log-in"))?
            .access_token),
        401 => bail!("{target} knows no user {username}: run `workbench seed` on its database"),
        status => bail!("{target}/token answers {status}"),
    }
}
