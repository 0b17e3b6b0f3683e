//! Sends one request: root span, reply, verdict of the oracle, sample.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use collector::trace::TraceId;
use goose::prelude::*;
use opentelemetry::trace::TraceContextExt as _;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{StatusCode, Url};
use serde_json::Value;
use system::api::{IDEMPOTENCY_KEY, SERVED_BY};
use telemetry::client::{self, ClientSpan};

use super::observe::{Exchange, observe};
use super::request::{Body, Failure, Request};
use super::retry::Retries;
use super::{Delay, Dispatcher, Session, TraceGroups, lock};
use crate::drive::oracle::{Facts, Verdict};
use crate::measure::{Finding, Limit, Measured, Outcome, Sample};

/// The address that requests are sent to.
pub(super) struct Target {
    pub(super) base: String,
    host: String,
    port: u16,
}

impl Target {
    pub(super) fn parse(url: &str) -> anyhow::Result<Self> {
        let parsed = Url::parse(url).with_context(|| format!("--target {url} is not a URL"))?;
        let host = parsed.host_str().with_context(|| format!("--target {url} names no host"))?.to_owned();
        let port = parsed.port_or_known_default().unwrap_or(80);
        Ok(Target { base: url.trim_end_matches('/').to_owned(), host, port })
    }
}

/// Due instant of a request and what delayed it.
#[derive(Clone, Copy)]
pub(super) struct Timing {
    pub(super) due: Instant,
    /// Origin of the due instant in the sample.
    pub(super) epoch: Instant,
    pub(super) warm_up: bool,
    pub(super) delay: Delay,
}

/// A complete reply, or the reason why there is none.
type Reply = Result<(StatusCode, HeaderMap, Vec<u8>), NoReply>;

/// Why a request has no reply.
enum NoReply {
    Failed(reqwest::Error),
    /// The user of the generator did not wait for it.
    Abandoned,
    /// It was not sent, because the log-in of its user had failed.
    NotSent(Failure),
}

impl NoReply {
    /// Returns the limit of the generator's own process that is the cause.
    fn limit(&self) -> Option<Limit> {
        match self {
            NoReply::Failed(error) => limit(error),
            NoReply::NotSent(log_in) => log_in.limit,
            NoReply::Abandoned => None,
        }
    }
}

/// Sends the request immediately and verifies the reply. A request to book or to cancel is sent again while its outcome
/// is unknown; it remains one request with one trace. Fails only if goose cannot build the request;
/// the inner result is the verdict.
pub(super) async fn send(
    user: &mut GooseUser,
    dispatcher: &Dispatcher,
    session: &Session,
    mut request: Request,
    timing: Timing,
) -> Result<(Result<Facts, Failure>, TraceId), Box<TransactionError>> {
    let sent = Instant::now();
    let span = open_span(dispatcher, &request, timing.warm_up);
    let (trace, sampled) = identity(&span);
    if let Some(booking) = request.cancels {
        lock(&dispatcher.history).cancelling(booking, dispatcher.since_origin(sent));
    }
    let (reply, retries) = match &request.failed_log_in {
        Some(log_in) => (Err(NoReply::NotSent(log_in.clone())), 0),
        None => tokio::select! {
            reply = conclusive_exchange(user, dispatcher, &span, &request) => reply?,
            () = dispatcher.abandon.cancelled() => (Err(NoReply::Abandoned), 0),
        },
    };
    let done = Instant::now();
    request.expect.sent_again(retries);
    let verdict = conclude(span, &request, &reply);

    let mut measured = session.recorder.lock();
    let sample = Sample {
        kind: request.kind,
        warm_up: timing.warm_up,
        by_intruder: request.by_intruder,
        outcome: outcome(&verdict),
        delay_cause: timing.delay.cause,
        due: timing.due.saturating_duration_since(timing.epoch),
        late_ns: nanos(sent.saturating_duration_since(timing.due)),
        blocked_ns: nanos(timing.delay.blocked),
        latency_ns: nanos(done.saturating_duration_since(timing.due)),
        service_ns: nanos(done - sent),
        trace,
        sampled,
    };
    if !timing.warm_up {
        dispatcher.progress.replied(&sample);
        count_gateway(&mut measured, &reply);
    }
    let limit = reply.err().and_then(|missing| missing.limit());
    if let Some(limit) = limit {
        measured.limits.count(limit);
    }
    measured.samples.push(sample);
    let recorded = record(&mut measured, &request, timing.warm_up, trace, verdict);
    let exchange = Exchange { session, request: &request, trace, sent, done, retries };
    exchange.count(&mut measured, recorded.is_err());
    drop(measured);
    if let Ok(facts) = &recorded {
        observe(dispatcher, &exchange, facts);
    }
    Ok((recorded.map_err(|why| Failure { why: why.into(), limit }), trace))
}

fn open_span(dispatcher: &Dispatcher, request: &Request, warm_up: bool) -> ClientSpan {
    let (target, TraceGroups { warm_up: of_warm_up, users, intruders }) =
        (&dispatcher.target, dispatcher.groups);
    let group = match request.by_intruder {
        _ if warm_up => of_warm_up,
        true => intruders,
        false => users,
    };
    let (method, route) = request.kind.route().split_once(' ').unwrap_or(("GET", "/"));
    let url = format!("{}{}", target.base, request.path);
    let target = client::ClientRequest { method, route, host: &target.host, port: target.port, url: &url };
    ClientSpan::start_root(&target, group.0)
}

fn identity(span: &ClientSpan) -> (TraceId, bool) {
    let span = span.context().span();
    let context = span.span_context();
    (TraceId(u128::from_be_bytes(context.trace_id().to_bytes())), context.is_sampled())
}

/// Sends the request, again while its outcome is unknown if that has no further effect. Returns the last reply and the number of repetitions.
async fn conclusive_exchange(
    user: &mut GooseUser,
    dispatcher: &Dispatcher,
    span: &ClientSpan,
    request: &Request,
) -> Result<(Reply, u32), Box<TransactionError>> {
    let mut retries = Retries::default();
    loop {
        let reply = exchange(user, span, request).await?;
        if request.key.is_none() && request.cancels.is_none() {
            return Ok((reply, 0));
        }
        if is_conclusive(&reply) {
            dispatcher.silence.end();
            return Ok((reply, retries.count));
        }
        let silence = dispatcher.silence.last_until(Instant::now());
        let Some(pause) = retries.next(silence).filter(|_| !dispatcher.stop.is_cancelled()) else {
            return Ok((reply, retries.count));
        };
        let _ = dispatcher.stop.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}

/// Returns whether the reply says what became of the request: a 5xx does not, nor does the refusal of a repetition while the
/// first attempt runs.
fn is_conclusive(reply: &Reply) -> bool {
    let Ok((status, _, body)) = reply else { return false };
    let problem = || serde_json::from_slice::<Value>(body).unwrap_or_default();
    !(status.is_server_error() || (*status == StatusCode::CONFLICT && problem()["code"] == "key_in_flight"))
}

/// Sends the request through goose and reads the reply to its last byte.
async fn exchange(
    user: &mut GooseUser,
    span: &ClientSpan,
    request: &Request,
) -> Result<Reply, Box<TransactionError>> {
    let method = match request.body {
        Body::None => GooseMethod::Get,
        Body::Delete => GooseMethod::Delete,
        Body::Form(_) | Body::Json(_) => GooseMethod::Post,
    };
    let mut headers = HeaderMap::new();
    span.inject(&mut headers);
    if let Some(token) = &request.bearer
        && let Ok(value) = HeaderValue::try_from(format!("Bearer {token}"))
    {
        headers.insert(AUTHORIZATION, value);
    }
    if let Some(key) = request.key.as_ref().and_then(|key| HeaderValue::try_from(format!("\"{key}\"")).ok()) {
        headers.insert(IDEMPOTENCY_KEY, key);
    }
    let builder = user.get_request_builder(&method, &request.path)?.headers(headers);
    let builder = match &request.body {
        Body::None | Body::Delete => builder,
        Body::Form(fields) => builder.form(fields),
        Body::Json(value) => builder.json(value),
    };
    let request = GooseRequest::builder()
        .set_request_builder(builder)
        .name(request.kind.as_str())
        .expect_status_code(request.expect.status())
        .build();
    let response = match user.request(request).await?.response {
        Ok(response) => response,
        Err(error) => return Ok(Err(NoReply::Failed(error.without_url()))),
    };
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes().await.map_err(|error| NoReply::Failed(error.without_url()));
    Ok(body.map(|body| (status, headers, body.to_vec())))
}

/// Ends the span and returns the oracle's verdict.
fn conclude(span: ClientSpan, request: &Request, reply: &Reply) -> Verdict {
    match reply {
        Ok((status, headers, body)) => {
            let content_type =
                headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let verdict = request.expect.judge(status.as_u16(), content_type, body);
            if verdict == Verdict::Conflict || request.expect.is_refused_with(status.as_u16()) {
                span.finish_refused(*status, headers);
            } else {
                span.finish(*status, headers);
            }
            verdict
        }
        Err(NoReply::Failed(error)) => {
            span.fail(if error.is_timeout() { "timeout" } else { "connection" });
            Verdict::Failed(format!("no reply: {}", chain(error)))
        }
        Err(NoReply::Abandoned) => {
            span.fail("abandoned");
            Verdict::Failed("no reply before the run was ended".to_owned())
        }
        Err(NoReply::NotSent(log_in)) => {
            span.fail("log_in_failed");
            Verdict::Failed(format!("not sent, because the log-in of its user failed: {}", log_in.why))
        }
    }
}

/// Joins the error and its causes, outermost first.
fn chain(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    causes.join(": ")
}

/// Returns the limit of the generator's own process that made the request fail.
fn limit(error: &reqwest::Error) -> Option<Limit> {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let code = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        if let Some(code) = code {
            return match nix::errno::Errno::from_raw(code) {
                nix::errno::Errno::EMFILE | nix::errno::Errno::ENFILE => Some(Limit::Descriptors),
                nix::errno::Errno::EADDRNOTAVAIL => Some(Limit::Ports),
                _ => None,
            };
        }
        cause = error.source();
    }
    None
}

fn outcome(verdict: &Verdict) -> Outcome {
    match verdict {
        Verdict::Verified(_) => Outcome::Verified,
        Verdict::Conflict => Outcome::Conflict,
        Verdict::Wrong(_) => Outcome::Wrong,
        Verdict::Failed(_) => Outcome::Failed,
    }
}

fn count_gateway(measured: &mut Measured, reply: &Reply) {
    if let Ok((_, headers, _)) = reply
        && let Some(gateway) = headers.get(SERVED_BY).and_then(|value| value.to_str().ok())
    {
        *measured.gateways.entry(gateway.to_owned()).or_default() += 1;
    }
}

/// Records the facts of a verified reply, or the finding, and returns them.
fn record(
    measured: &mut Measured,
    request: &Request,
    warm_up: bool,
    trace: TraceId,
    verdict: Verdict,
) -> Result<Facts, String> {
    let outcome = outcome(&verdict);
    match verdict {
        Verdict::Verified(facts) => {
            match facts.cached {
                Some(true) if !warm_up => measured.hits += 1,
                Some(false) if !warm_up => measured.misses += 1,
                _ => {}
            }
            Ok(facts)
        }
        Verdict::Conflict => Ok(Facts::default()),
        Verdict::Wrong(why) | Verdict::Failed(why) => {
            measured.add_finding(Finding { kind: request.kind, outcome, why: why.clone(), trace });
            Err(why)
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
