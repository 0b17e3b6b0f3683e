//! Version 1: what scripts and older UIs ask, and every UI of a single trace and of the dependencies.

mod envelope;
mod metrics;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::json;
use tokio::sync::Semaphore;
use tower_http::timeout::TimeoutLayer;

use super::adjust::adjusted;
use super::parameters::Parameters;
use super::query::v1::{self as query, Wanted, is_pretty};
use super::{Refusal, kept, model, operations_of, path_text, soon, trace_id, written, written_in};
use crate::ingest::Ingest;
use crate::otlp;
use crate::query::answer::{self, Lazily, Writing};
use crate::trace::{Trace, TraceId};
use envelope::{Envelope, Problem};

/// Files that are taken in, or wait to be read, each as long as a message may be.
static FILES: Semaphore = Semaphore::const_new(4);

/// Files that are read and shown at once: what is read takes many times its length.
static READ: Semaphore = Semaphore::const_new(1);

/// A peer that takes longer to send a file holds memory and gives nothing for it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn router() -> Router<Arc<Ingest>> {
    let transform = Router::new()
        .route("/api/transform", post(transform))
        .layer(DefaultBodyLimit::max(otlp::MAX_MESSAGE))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT));
    Router::new()
        .route("/api/services", get(services))
        .route("/api/services/{service}/operations", get(operation_names))
        .route("/api/operations", get(operations))
        .route("/api/traces", get(traces))
        .route("/api/traces/{id}", get(trace))
        .route("/api/dependencies", get(dependencies))
        .merge(transform)
        .merge(metrics::router())
}

type Reply = Result<Response, Problem>;

async fn services(State(ingest): State<Arc<Ingest>>, RawQuery(asked): RawQuery) -> Reply {
    let pretty = is_pretty(&Parameters::parse(asked.as_deref())?);
    Ok(soon(move |body| Envelope::counted(ingest.services()).write(pretty, body)).await?)
}

/// Names alone, each once. Without any, `data` is null: that is Jaeger's way.
async fn operation_names(
    State(ingest): State<Arc<Ingest>>,
    service: Result<Path<String>, PathRejection>,
    RawQuery(asked): RawQuery,
) -> Reply {
    let pretty = is_pretty(&Parameters::parse(asked.as_deref())?);
    let service = path_text(service)?;
    let work = move |body: &mut Writing| {
        let operations = ingest.operations(&service);
        let mut names: Vec<String> = operations.into_iter().map(|(name, _)| name).collect();
        names.dedup();
        let envelope = if names.is_empty() { Envelope::empty() } else { Envelope::counted(names) };
        envelope.write(pretty, body)
    };
    Ok(soon(work).await?)
}

async fn operations(State(ingest): State<Arc<Ingest>>, RawQuery(asked): RawQuery) -> Reply {
    let parameters = Parameters::parse(asked.as_deref())?;
    let ((service, kind), pretty) = (query::operations(&parameters)?, is_pretty(&parameters));
    let work = move |body: &mut Writing| {
        let operations = operations_of(&ingest, &service, kind.as_deref()).into_iter();
        let data = operations.map(|(name, kind)| json!({ "name": name, "spanKind": kind })).collect();
        Envelope::counted(data).write(pretty, body)
    };
    Ok(soon(work).await?)
}

/// A search, or traces by their ids; of these, `errors` names the ones that are not there.
async fn traces(State(ingest): State<Arc<Ingest>>, RawQuery(asked): RawQuery) -> Reply {
    let parameters = Parameters::parse(asked.as_deref())?;
    let pretty = is_pretty(&parameters);
    let wanted = query::traces(&parameters, super::query::now_ns())?;
    let work = move |body: &mut Writing| match wanted {
        Wanted::Search(search) => {
            Envelope::of(shown(ingest.store.search(&search.query), search.raw)).write(pretty, body)
        }
        Wanted::Ids(ids, raw) => {
            let (there, missing): (Vec<_>, Vec<_>) =
                ids.into_iter().partition(|id| ingest.store.bytes_of(*id) > 0);
            let found = there.into_iter().filter_map(|id| kept(&ingest, id));
            Envelope::of(shown(found, raw)).missing(missing.into_iter()).write(pretty, body)
        }
    };
    Ok(written(work).await?)
}

async fn trace(
    State(ingest): State<Arc<Ingest>>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(asked): RawQuery,
) -> Reply {
    let id = trace_id(&path_text(id)?)?;
    let parameters = Parameters::parse(asked.as_deref())?;
    let (raw, pretty) = (query::trace(&parameters)?, is_pretty(&parameters));
    let work = move |body: &mut Writing| {
        let trace = kept(&ingest, id).ok_or_else(|| Refusal::not_found(envelope::NO_TRACE))?;
        Envelope::of(shown(std::iter::once(trace), raw)).write(pretty, body)
    };
    Ok(soon(work).await?)
}

async fn dependencies(State(ingest): State<Arc<Ingest>>, RawQuery(asked): RawQuery) -> Reply {
    let parameters = Parameters::parse(asked.as_deref())?;
    let start_ns = query::dependencies(&parameters, super::query::now_ns())?;
    let (service, pretty) = (parameters.first("service").map(str::to_owned), is_pretty(&parameters));
    let work = move |body: &mut Writing| {
        let calls = ingest.store.dependencies(&start_ns).into_iter();
        let concerns = |parent: &str, child: &str| {
            service.as_deref().is_none_or(|service| service == parent || service == child)
        };
        let data = calls
            .filter(|((parent, child), _)| concerns(parent, child))
            .map(|((parent, child), count)| json!({ "parent": parent, "child": child, "callCount": count }));
        Envelope::of(Lazily::of(data)).write(pretty, body)
    };
    Ok(written(work).await?)
}

/// Shows a file of OTLP JSON that the UI was given. Nothing of it is kept, and nothing in it adjusted.
async fn transform(RawQuery(asked): RawQuery, request: Request) -> Reply {
    let pretty = is_pretty(&Parameters::parse(asked.as_deref())?);
    // Before any of the file is taken in.
    let room = answer::patiently(&FILES, 1).await.map_err(Refusal::from)?;
    let file = String::from_request(request, &()).await;
    let file =
        file.map_err(|rejection| Refusal { status: rejection.status(), message: rejection.body_text() })?;
    let work = move |body: &mut Writing| {
        let _room = room;
        Envelope::of(shown(read(&file)?.into_iter(), true)).write(pretty, body)
    };
    Ok(written_in(&READ, work).await?)
}

/// One by one, for what lies between a trace and its text is several times as large as both.
fn shown(traces: impl Iterator<Item = Trace>, raw: bool) -> Lazily<impl Iterator<Item = model::Trace>> {
    let traces = traces.map(move |trace| if raw { trace } else { adjusted(trace) });
    Lazily::of(traces.map(|trace| model::Trace::from(&trace)))
}

/// The traces of an OTLP message, in the order in which they begin in it.
fn read(message: &str) -> Result<Vec<Trace>, Refusal> {
    let refusal =
        |error: &dyn std::fmt::Display| Refusal::bad_request(format!("cannot unmarshal OTLP: {error}"));
    // A list would otherwise be read as the message's fields in their order.
    if !message.trim_start().starts_with('{') {
        return Err(refusal(&"not a JSON object"));
    }
    if !otlp::has_few_objects(message.as_bytes()) {
        return Err(refusal(&"it has more objects than a message may have"));
    }
    let spans = otlp::from_json_line(message).map_err(|error| refusal(&error))?.spans;
    let mut positions: HashMap<TraceId, usize> = HashMap::new();
    let mut traces: Vec<Trace> = Vec::new();
    for span in spans {
        let position = *positions.entry(span.trace_id).or_insert_with(|| {
            traces.push(Trace::default());
            traces.len() - 1
        });
        traces[position].spans.push(span);
    }
    Ok(traces)
}

#[cfg(test)]
mod tests;
