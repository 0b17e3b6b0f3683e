//! `workbench traces import`. All files are checked before the first span is sent.

use std::collections::HashSet;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use collector::trace::TraceId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Import;
use super::document::{self, DocumentPart};
use super::input::Input;
use super::progress::{Progress, count};
use super::request::{RequestBuilder, TraceRequest};
use super::send::{Receiver, SendResult};
use crate::usage::UsageError;

/// Maximum number of concurrent requests, and of requests waiting to be sent.
const CONCURRENT_REQUESTS: usize = 4;

/// Number of traces and spans of the files, and of messages of other signals.
#[derive(Default)]
struct Contents {
    traces: HashSet<TraceId>,
    spans: usize,
    skipped: usize,
}

/// Imports files. Fails without sending anything if a file is invalid; exit status 1 if spans were rejected.
pub(crate) async fn import(arguments: &Import) -> anyhow::Result<ExitCode> {
    let progress = Progress::start();
    let mut inputs = Vec::new();
    let mut contents = Contents::default();
    for name in &arguments.files {
        progress.set(&format!("checking {name}"));
        inputs.push(check(name, arguments.max_unpacked, &mut contents).map_err(UsageError)?);
    }
    let receiver = Receiver::at(&arguments.otlp)?;
    let mut sum = SendResult::default();
    let sent = send((inputs, arguments.max_unpacked), &receiver, &mut sum, contents.spans, &progress).await;
    // Some receivers report more rejected spans than were sent.
    let taken = sum.spans.saturating_sub(sum.rejected);
    sent.with_context(|| format!("{taken} of {} were accepted", count(contents.spans, "span")))?;
    let (traces, spans) = (count(contents.traces.len(), "trace"), count(taken, "span"));
    let skipped = match contents.skipped {
        0 => String::new(),
        messages => format!("; {} of metrics, logs or profiles skipped", count(messages, "message")),
    };
    if sum.rejected == 0 {
        progress.finish(&format!("{traces}, {spans} sent{skipped}"));
        return Ok(ExitCode::SUCCESS);
    }
    progress.finish(&format!("{traces}, {spans} sent, {} rejected: {}{skipped}", sum.rejected, sum.reason));
    Ok(ExitCode::from(1))
}

fn check(name: &str, max_unpacked: u64, contents: &mut Contents) -> anyhow::Result<Input> {
    let input = Input::open(name)?;
    let (spans, skipped) = (contents.spans, contents.skipped);
    read(&input, max_unpacked, &mut |part| {
        match part {
            DocumentPart::Spans(resource_spans) => {
                contents.traces.extend(resource_spans.traces());
                contents.spans += resource_spans.spans();
            }
            DocumentPart::OtherSignal => contents.skipped += 1,
            DocumentPart::End => {}
        }
        Ok(())
    })?;
    ensure!(
        contents.spans > spans || contents.skipped == skipped,
        "{name}: only metrics, logs or profiles, no spans"
    );
    ensure!(contents.spans > spans, "{name}: the file has no spans");
    Ok(input)
}

fn read(input: &Input, max_unpacked: u64, each: document::PartSink<'_>) -> anyhow::Result<()> {
    let text = input.text(max_unpacked).with_context(|| input.name.clone())?;
    document::read(text, each).with_context(|| input.name.clone())
}

/// Sends all spans and adds the accepted ones to `sum`, up to the first failure.
async fn send(
    (inputs, max_unpacked): (Vec<Input>, u64),
    receiver: &Receiver,
    sum: &mut SendResult,
    spans: usize,
    progress: &Progress,
) -> anyhow::Result<()> {
    let (full, mut batches) = mpsc::channel(CONCURRENT_REQUESTS);
    let reading = tokio::task::spawn_blocking(move || batched(&inputs, max_unpacked, &full));
    let mut sending = JoinSet::new();
    let mut add = |taken: SendResult| {
        sum.spans += taken.spans;
        sum.rejected += taken.rejected;
        if sum.reason.is_empty() {
            sum.reason = taken.reason;
        }
        progress.set(&format!("{} of {spans} spans sent", sum.spans));
    };
    while let Some(batch) = batches.recv().await {
        if sending.len() == CONCURRENT_REQUESTS
            && let Some(taken) = sending.join_next().await
        {
            add(taken??);
        }
        sending.spawn(receiver.clone().send(batch));
    }
    while let Some(taken) = sending.join_next().await {
        add(taken??);
    }
    reading.await?
}

fn batched(inputs: &[Input], max_unpacked: u64, full: &mpsc::Sender<TraceRequest>) -> anyhow::Result<()> {
    let mut batches = RequestBuilder::default();
    // The receiver of the channel is dropped after a failed request.
    let mut hand_over = |batch| full.blocking_send(batch).context("sending has ended");
    for input in inputs {
        read(input, max_unpacked, &mut |part| batches.push(part, &mut hand_over))?;
    }
    batches.finish().map_or(Ok(()), hand_over)
}
