//! Passes every batch on to a second OTLP backend, such as a real Jaeger, and never makes a sender wait for it.
//!
//! Batches wait in a queue bounded by bytes. When it is full, when the backend refuses a batch for good, or when it
//! does not take it in a few attempts, the batch's spans are dropped and counted by reason.

mod export;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// What may wait, in bytes on the wire; decoded, as it waits, it takes three to four times as much.
const QUEUE_BYTES: usize = 8 << 20;

/// One attempt, and the pauses before the second, third and fourth.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1600)];

/// After the stop, what still waits may take this long.
const FLUSH_DEADLINE: Duration = Duration::from_secs(3);

/// The queue's near end.
#[derive(Debug)]
pub(crate) struct Forward {
    queue: mpsc::UnboundedSender<Waiting>,
    shared: Arc<Shared>,
}

/// Spans passed on, and those that were not, by reason.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: AtomicU64,
    pub(crate) queue_full: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) unreachable: AtomicU64,
    pub(crate) stopped: AtomicU64,
}

#[derive(Debug, Default)]
struct Shared {
    counts: Counts,
    queued_bytes: AtomicUsize,
}

#[derive(Debug)]
struct Waiting {
    request: ExportTraceServiceRequest,
    bytes: usize,
}

impl Forward {
    /// Starts passing on to `endpoint` (`http://host:port`), which need not be there yet. The task ends once `stop`
    /// fired and the queue is empty or its time is up.
    pub(crate) fn start(
        endpoint: &str,
        stop: CancellationToken,
    ) -> io::Result<(Self, tokio::task::JoinHandle<()>)> {
        let invalid = |why: String| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("cannot forward to {endpoint:?}: {why}"))
        };
        let channel =
            Endpoint::from_shared(endpoint.to_owned()).map_err(|error| invalid(error.to_string()))?;
        if channel.uri().scheme_str() != Some("http") || channel.uri().host().is_none() {
            return Err(invalid("it must look like http://host:port".to_owned()));
        }
        let channel = channel.connect_lazy();
        let (queue, waiting) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(pass_on(channel, waiting, Arc::clone(&shared), stop));
        Ok((Self { queue, shared }, task))
    }

    /// Queues a batch of about so many bytes, or drops and counts it. Never waits.
    pub(crate) fn offer(&self, request: ExportTraceServiceRequest, bytes: usize) {
        let queued = self.shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        // An empty queue takes a batch of any size.
        if queued > 0 && queued + bytes > QUEUE_BYTES {
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.shared.counts.queue_full.fetch_add(spans(&request), Ordering::Relaxed);
        } else if let Err(mpsc::error::SendError(waiting)) = self.queue.send(Waiting { request, bytes }) {
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.shared.counts.stopped.fetch_add(spans(&waiting.request), Ordering::Relaxed);
        }
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.shared.queued_bytes.load(Ordering::Relaxed)
    }
}

async fn pass_on(
    channel: Channel,
    mut waiting: mpsc::UnboundedReceiver<Waiting>,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(FLUSH_DEADLINE).await;
    };
    tokio::pin!(overdue);
    let mut health = Health::default();
    loop {
        let next = tokio::select! {
            biased;
            () = &mut overdue => break,
            next = waiting.recv() => next,
            // Only when nothing waits: what does is passed on first.
            () = stop.cancelled() => None,
        };
        let Some(Waiting { request, bytes }) = next else { break };
        let spans = spans(&request);
        let outcome = tokio::select! {
            biased;
            outcome = send(&channel, &request) => outcome,
            () = &mut overdue => Outcome::Stopped,
        };
        shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        shared.counts.add(&outcome, spans);
        health.note(&outcome);
        if let Outcome::Stopped = outcome {
            break;
        }
    }
    waiting.close();
    while let Ok(Waiting { request, bytes }) = waiting.try_recv() {
        shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        shared.counts.add(&Outcome::Stopped, spans(&request));
    }
}

#[derive(Debug)]
enum Outcome {
    Sent,
    Refused(Status),
    Unreachable(Status),
    Stopped,
}

/// Says in the log when passing on begins to fail and when it works again, not for every batch.
#[derive(Debug, Default)]
struct Health {
    failing: bool,
}

impl Health {
    fn note(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Refused(status) | Outcome::Unreachable(status) if !self.failing => {
                self.failing = true;
                tracing::warn!(%status, "spans cannot be passed on: they are dropped and counted");
            }
            Outcome::Sent if self.failing => {
                self.failing = false;
                tracing::info!("spans are passed on again");
            }
            _ => {}
        }
    }
}

impl Counts {
    fn add(&self, outcome: &Outcome, spans: u64) {
        let count = match outcome {
            Outcome::Sent => &self.sent,
            Outcome::Refused(_) => &self.refused,
            Outcome::Unreachable(_) => &self.unreachable,
            Outcome::Stopped => &self.stopped,
        };
        count.fetch_add(spans, Ordering::Relaxed);
    }
}

async fn send(channel: &Channel, request: &ExportTraceServiceRequest) -> Outcome {
    // Encoded once for all attempts.
    let message = bytes::Bytes::from(request.encode_to_vec());
    let mut last = None;
    for pause in PAUSES.into_iter().map(Some).chain([None]) {
        let attempt = tokio::time::timeout(ATTEMPT_TIMEOUT, export::export(channel, message.clone()));
        let outcome = attempt.await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no reply in time")));
        match outcome {
            Ok(()) => return Outcome::Sent,
            Err(status) if !export::is_worth_retrying(&status) => return Outcome::Refused(status),
            Err(status) => last = Some(status),
        }
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
    }
    Outcome::Unreachable(last.unwrap_or_else(|| Status::unavailable("")))
}

fn spans(request: &ExportTraceServiceRequest) -> u64 {
    let of_resources = request.resource_spans.iter();
    of_resources
        .flat_map(|of_resource| &of_resource.scope_spans)
        .map(|of_scope| of_scope.spans.len() as u64)
        .sum()
}
