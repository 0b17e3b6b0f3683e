//! `workbench traces export`. Traces pass through one by one; the file is there when all of them are in it.

use std::collections::HashSet;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use collector::UiTrace;
use collector::ledger::Row;
use collector::otlp;
use collector::trace::{Trace, TraceId};

use super::lines::LineSplitter;
use super::output::Output;
use super::progress::{self, Progress, count};
use super::{Export, Format};
use crate::collector_client::CollectorClient;
use crate::stop;
use crate::usage::UsageError;

/// The collector is asked no longer than this, for anything but all that it keeps.
const ASKING_TIMEOUT: Duration = Duration::from_secs(30);

/// Named traces that are asked for at once: the answer is held until it is written.
const NAMED_AT_ONCE: usize = 20;

/// Named traces that an error tells of.
const MAX_NAMED_TRACES: usize = 5;

/// Fails, and leaves no file, when the collector does not keep a trace that was named or breaks off. So does Ctrl-C.
pub(crate) async fn export(arguments: &Export) -> anyhow::Result<ExitCode> {
    let stop = stop::on_signal()?;
    let mut export = TraceWriter {
        output: Output::to(&arguments.file)?,
        format: arguments.format,
        traces: 0,
        spans: 0,
        progress: Progress::start(),
    };
    let http = reqwest::Client::builder().timeout(ASKING_TIMEOUT).build()?;
    let collector = CollectorClient::new(&arguments.collector, http);
    tokio::select! {
        fetched = fetch(arguments, &collector, &mut export) => fetched?,
        () = stop.cancelled() => bail!("stopped; nothing was written"),
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
    fetched.map_err(|error| explained(error, &arguments.collector))
}

async fn all(collector: &CollectorClient, export: &mut TraceWriter) -> anyhow::Result<()> {
    let mut reply = collector.all_traces().await?;
    let mut lines = LineSplitter::default();
    while let Some(piece) = reply.chunk().await? {
        lines.push(&piece, |line| export.line(line).map(drop))?;
    }
    ensure!(lines.is_whole(), "its last trace is cut off");
    Ok(())
}

/// PartSink once, in the order in which they were named first.
async fn named(ids: &[TraceId], collector: &CollectorClient, export: &mut TraceWriter) -> anyhow::Result<()> {
    let mut seen = HashSet::new();
    let ids: Vec<TraceId> = ids.iter().copied().filter(|id| seen.insert(*id)).collect();
    for ids in ids.chunks(NAMED_AT_ONCE) {
        let lines = collector.traces(ids).await?;
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if let Some(id) = export.line(line)? {
                seen.remove(&id);
            }
        }
    }
    let missing: Vec<TraceId> = ids.into_iter().filter(|id| seen.contains(id)).collect();
    if missing.is_empty() { Ok(()) } else { Err(not_kept(&missing, collector).await?) }
}

/// The ledger knows why.
async fn not_kept(missing: &[TraceId], collector: &CollectorClient) -> anyhow::Result<anyhow::Error> {
    let told = &missing[..missing.len().min(MAX_NAMED_TRACES)];
    let ledger = collector.ledger(told).await?;
    let why = ledger.examples.iter().map(|loss| match loss.row {
        Row::Evicted => format!("trace {} was evicted: {}", loss.trace_id, loss.why),
        _ => format!("trace {} is not there: {}", loss.trace_id, loss.why),
    });
    let mut why: Vec<String> = why.collect();
    if missing.len() > told.len() {
        why.push(format!("and {} more", missing.len() - told.len()));
    }
    Ok(anyhow!("{}; nothing was written", why.join("; ")))
}

/// What is wrong with the address is for the caller to mend.
fn explained(error: anyhow::Error, url: &str) -> anyhow::Error {
    match error.downcast_ref::<reqwest::Error>() {
        Some(http) if http.is_connect() || http.is_builder() || is_elsewhere(http) => {
            UsageError(error.context(format!("no collector at {url}; --collector says where it is"))).into()
        }
        Some(_) => error.context(format!("{url} broke off; nothing was written")),
        None => error,
    }
}

/// Somebody else answers there.
fn is_elsewhere(error: &reqwest::Error) -> bool {
    error.status().is_some_and(|status| status.is_client_error())
}

/// The file as far as it is written.
struct TraceWriter {
    output: Output,
    format: Format,
    traces: usize,
    spans: usize,
    progress: Progress,
}

impl TraceWriter {
    /// A trace as the collector gives it. Returns its id.
    fn line(&mut self, line: &[u8]) -> anyhow::Result<Option<TraceId>> {
        let line = std::str::from_utf8(line)?;
        let trace = otlp::from_json_line(line).context("the collector does not answer with traces")?;
        let (id, spans) = (trace.id(), trace.spans.len());
        match self.format {
            Format::Otlp => {
                self.output.write_all(line.as_bytes())?;
                self.output.write_all(b"\n")?;
            }
            Format::Jaeger => self.element(trace)?,
        }
        self.traces += 1;
        self.spans += spans;
        self.progress.say(format!("{}, {}", count(self.traces, "trace"), count(self.spans, "span")));
        Ok(id)
    }

    /// One of `data`.
    fn element(&mut self, trace: Trace) -> anyhow::Result<()> {
        let before: &[u8] = if self.traces == 0 { br#"{"data":["# } else { b"," };
        self.output.write_all(before)?;
        serde_json::to_writer(&mut self.output, &UiTrace::adjusted(trace))?;
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        if self.format == Format::Jaeger {
            let start = if self.traces == 0 { r#"{"data":["# } else { "" };
            writeln!(self.output, r#"{start}],"total":0,"limit":0,"offset":0,"errors":null}}"#)?;
        }
        let bytes = self.output.finish()?;
        let (traces, spans) = (count(self.traces, "trace"), count(self.spans, "span"));
        self.progress.finish(&format!("{traces}, {spans}, {} written", progress::bytes(bytes)));
        Ok(())
    }
}
