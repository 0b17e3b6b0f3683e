//! `workbench traces export`. Traces are written one by one; the file appears when it is complete.

use std::collections::HashSet;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use collector::UiTrace;
use collector::ledger::LedgerRow;
use collector::otlp;
use collector::trace::{Trace, TraceId};
use serde_json::value::RawValue;

use super::lines::LineSplitter;
use super::output::Output;
use super::progress::{self, Progress, count};
use super::{Export, Format};
use crate::collector_client::CollectorClient;
use crate::usage::UsageError;
use crate::{http_client, stop};

/// Timeout of requests to the collector, except for the request for all traces.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Number of named traces per request; the whole reply is held in memory.
const TRACES_PER_REQUEST: usize = 20;

/// Maximum number of missing traces that an error lists.
const MAX_NAMED_TRACES: usize = 5;

/// Exports traces. Fails without writing a file if the collector lacks a named trace, the connection ends, or on Ctrl-C.
pub(crate) async fn export(arguments: &Export) -> anyhow::Result<ExitCode> {
    let stop = stop::on_signal()?;
    let mut export = TraceWriter {
        output: Output::to(&arguments.file)?,
        format: arguments.format,
        traces: 0,
        spans: 0,
        has_elements: false,
        progress: Progress::start(),
    };
    let http = http_client::builder().timeout(QUERY_TIMEOUT).build()?;
    let collector = CollectorClient::new(&arguments.collector, http);
    tokio::select! {
        fetched = fetch(arguments, &collector, &mut export) => fetched?,
        () = stop.cancelled() => bail!("interrupted: nothing was written"),
    }
    export.finish()?;
    Ok(ExitCode::SUCCESS)
}

async fn fetch(
    arguments: &Export,
    collector: &CollectorClient,
    export: &mut TraceWriter,
) -> anyhow::Result<()> {
    let fetched = if arguments.traces.is_empty() {
        all(collector, export).await
    } else {
        named(&arguments.traces, collector, export).await
    };
    fetched.map_err(|error| with_address(error, &arguments.collector))
}

async fn all(collector: &CollectorClient, export: &mut TraceWriter) -> anyhow::Result<()> {
    let mut reply = collector.all_traces().await?;
    let mut lines = LineSplitter::default();
    while let Some(piece) = reply.chunk().await? {
        lines.push(&piece, |line| export.line(line).map(drop))?;
    }
    ensure!(lines.is_complete(), "the last trace is truncated");
    Ok(())
}

/// Exports each of the named traces once, in the order in which they were first named.
async fn named(ids: &[TraceId], collector: &CollectorClient, export: &mut TraceWriter) -> anyhow::Result<()> {
    let mut seen = HashSet::new();
    let ids: Vec<TraceId> = ids.iter().copied().filter(|id| seen.insert(*id)).collect();
    for ids in ids.chunks(TRACES_PER_REQUEST) {
        let lines = collector.traces(ids).await?;
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if let Some(id) = export.line(line)? {
                seen.remove(&id);
            }
        }
    }
    let missing: Vec<TraceId> = ids.into_iter().filter(|id| seen.contains(id)).collect();
    if missing.is_empty() { Ok(()) } else { Err(missing_traces(&missing, collector).await?) }
}

/// Returns an error that explains, from the ledger, why the traces are missing.
async fn missing_traces(missing: &[TraceId], collector: &CollectorClient) -> anyhow::Result<anyhow::Error> {
    let listed = &missing[..missing.len().min(MAX_NAMED_TRACES)];
    let ledger = collector.ledger(listed).await?;
    let why = ledger.examples.iter().map(|loss| match loss.row {
        LedgerRow::Evicted | LedgerRow::CompleteThenEvicted | LedgerRow::IncompleteThenEvicted => {
            format!("trace {} was evicted: {}", loss.trace_id, loss.why)
        }
        _ => format!("trace {} was not found: {}", loss.trace_id, loss.why),
    });
    let mut why: Vec<String> = why.collect();
    if missing.len() > listed.len() {
        why.push(format!("and {} more", missing.len() - listed.len()));
    }
    Ok(anyhow!("{}; nothing was written", why.join("; ")))
}

/// Adds the address to an error; a wrong address is a usage error.
fn with_address(error: anyhow::Error, url: &str) -> anyhow::Error {
    match error.downcast_ref::<reqwest::Error>() {
        Some(http) if http.is_connect() || http.is_builder() || is_not_a_collector(http) => {
            UsageError(error.context(format!("no collector at {url} (set the address with --collector)")))
                .into()
        }
        Some(_) => error.context(format!("the connection to {url} ended: nothing was written")),
        None => error,
    }
}

/// Returns whether the server is not a collector.
fn is_not_a_collector(error: &reqwest::Error) -> bool {
    error.status().is_some_and(|status| status.is_client_error())
}

/// Writes traces to the output in one of the formats.
struct TraceWriter {
    output: Output,
    format: Format,
    traces: usize,
    spans: usize,
    /// Whether the list of the document has an element.
    has_elements: bool,
    progress: Progress,
}

impl TraceWriter {
    /// Writes one trace, given as a line of OTLP JSON. Returns its id.
    fn line(&mut self, line: &[u8]) -> anyhow::Result<Option<TraceId>> {
        let line = std::str::from_utf8(line)?;
        let trace = otlp::from_json_line(line).context("the collector did not return traces")?;
        let (id, spans) = (trace.id(), trace.spans.len());
        match self.format {
            Format::OtlpJsonl => {
                self.output.write_all(line.as_bytes())?;
                self.output.write_all(b"\n")?;
            }
            Format::OtlpJson => self.resource_spans(line)?,
            Format::Jaeger => self.element(trace)?,
        }
        self.traces += 1;
        self.spans += spans;
        self.progress.set(&format!("{}, {}", count(self.traces, "trace"), count(self.spans, "span")));
        Ok(id)
    }

    /// Writes the elements of `resourceSpans` of one line.
    fn resource_spans(&mut self, line: &str) -> anyhow::Result<()> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Line<'a> {
            #[serde(borrow, default)]
            resource_spans: Vec<&'a RawValue>,
        }
        for element in serde_json::from_str::<Line<'_>>(line)?.resource_spans {
            self.begin_element()?;
            self.output.write_all(element.get().as_bytes())?;
        }
        Ok(())
    }

    /// Writes what is before an element: the start of the document, or a comma.
    fn begin_element(&mut self) -> anyhow::Result<()> {
        let start = if self.format == Format::Jaeger { r#"{"data":["# } else { r#"{"resourceSpans":["# };
        self.output.write_all(if self.has_elements { "," } else { start }.as_bytes())?;
        self.has_elements = true;
        Ok(())
    }

    /// Writes one element of `data`.
    fn element(&mut self, trace: Trace) -> anyhow::Result<()> {
        self.begin_element()?;
        serde_json::to_writer(&mut self.output, &UiTrace::adjusted(trace))?;
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        match self.format {
            Format::OtlpJsonl => {}
            Format::OtlpJson if self.has_elements => writeln!(self.output, "]}}")?,
            Format::OtlpJson => writeln!(self.output, r#"{{"resourceSpans":[]}}"#)?,
            Format::Jaeger => {
                let start = if self.has_elements { "" } else { r#"{"data":["# };
                writeln!(self.output, r#"{start}],"total":0,"limit":0,"offset":0,"errors":null}}"#)?;
            }
        }
        let bytes = self.output.finish()?;
        let (traces, spans) = (count(self.traces, "trace"), count(self.spans, "span"));
        self.progress.finish(&format!("{traces}, {spans}, {} written", progress::bytes(bytes)));
        Ok(())
    }
}
