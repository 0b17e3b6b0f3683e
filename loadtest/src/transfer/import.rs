//! `workbench traces import`. All files are checked before the first span is sent.

use std::collections::HashSet;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use collector::trace::TraceId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Import;
use super::document::{self, Part};
use super::input::Input;
use super::progress::{Progress, count};
use super::request::{RequestBuilder, TraceRequest};
use super::send::{Delivery, Receiver};
use crate::usage::UsageError;

/// Requests that are on their way together, and as many that wait for their turn.
const AT_ONCE: usize = 4;

/// What the files hold.
#[derive(Default)]
struct Contents {
    traces: HashSet<TraceId>,
    spans: usize,
}

/// Fails without having sent anything when a file is not what it should be; 1 when spans were rejected.
pub(crate) async fn import(arguments: &Import) -> anyhow::Result<ExitCode> {
    let progress = Progress::start();
    let mut inputs = Vec::new();
    let mut contents = Contents::default();
    for name in &arguments.files {
        progress.say(format!("checking {name}"));
        inputs.push(checked(name, &mut contents).map_err(UsageError)?);
    }
    let receiver = Receiver::at(&arguments.otlp)?;
    let mut sum = Delivery::default();
    let sent = send(inputs, &receiver, &mut sum, contents.spans, &progress).await;
    // Not every receiver counts well.
    let taken = sum.spans.saturating_sub(sum.rejected);
    sent.with_context(|| format!("{taken} of {} had been taken", count(contents.spans, "span")))?;
    let (traces, spans) = (count(contents.traces.len(), "trace"), count(taken, "span"));
    if sum.rejected == 0 {
        progress.finish(&format!("{traces}, {spans} sent"));
        return Ok(ExitCode::SUCCESS);
    }
    progress.finish(&format!("of {traces} {spans} sent, {} rejected: {}", sum.rejected, sum.why));
    Ok(ExitCode::from(1))
}

fn checked(name: &str, contents: &mut Contents) -> anyhow::Result<Input> {
    let input = Input::open(name)?;
    let before = contents.spans;
    read(&input, &mut |part| {
        if let Part::Spans(envelope) = part {
            contents.traces.extend(envelope.traces());
            contents.spans += envelope.spans();
        }
        Ok(())
    })?;
    ensure!(contents.spans > before, "{name}: there is no span in it");
    Ok(input)
}

fn read(input: &Input, each: document::PartSink<'_>) -> anyhow::Result<()> {
    let text = input.text().with_context(|| input.name.clone())?;
    document::read(text, each).with_context(|| input.name.clone())
}

/// Sends everything, and adds up what was taken as long as all goes well.
async fn send(
    inputs: Vec<Input>,
    receiver: &Receiver,
    sum: &mut Delivery,
    spans: usize,
    progress: &Progress,
) -> anyhow::Result<()> {
    let (full, mut batches) = mpsc::channel(AT_ONCE);
    let reading = tokio::task::spawn_blocking(move || batched(&inputs, &full));
    let mut sending = JoinSet::new();
    let mut add = |taken: Delivery| {
        sum.spans += taken.spans;
        sum.rejected += taken.rejected;
        if sum.why.is_empty() {
            sum.why = taken.why;
        }
        progress.say(format!("{} of {spans} spans sent", sum.spans));
    };
    while let Some(batch) = batches.recv().await {
        if sending.len() == AT_ONCE
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

fn batched(inputs: &[Input], full: &mpsc::Sender<TraceRequest>) -> anyhow::Result<()> {
    let mut batches = RequestBuilder::default();
    // Nobody takes more when a request has failed.
    let mut hand_over = |batch| full.blocking_send(batch).context("no more is sent");
    for input in inputs {
        read(input, &mut |part| batches.push(part, &mut hand_over))?;
    }
    batches.finish().map_or(Ok(()), hand_over)
}
