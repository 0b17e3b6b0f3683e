//! Forwards every message unchanged to a second OTLP backend, such as Jaeger, without delaying senders.
//!
//! Messages wait in a queue bounded by bytes. The spans of a message are dropped and counted by reason if the queue
//! is full, the backend refuses the message, or all attempts fail.

mod export;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// Maximum size of the queue in bytes.
const QUEUE_BYTES: usize = 8 << 20;

/// Bytes of a queued message beside its contents.
const MESSAGE_OVERHEAD: usize = 128;

/// Timeout of an attempt, and the delays before the second, third and fourth.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_DELAYS: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1600)];

/// Maximum delay at the request of the backend.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);

/// Maximum time to flush the queue after the stop.
const FLUSH_DEADLINE: Duration = Duration::from_secs(3);

/// The sending end of the queue.
#[derive(Debug)]
pub(crate) struct Forward {
    queue: mpsc::UnboundedSender<QueuedMessage>,
    shared: Arc<Shared>,
}

/// Number of spans forwarded, and of spans dropped by reason: `refused` with the whole message, `rejected`
/// individually.
#[derive(Debug, Default)]
pub(crate) struct ForwardCounters {
    pub(crate) sent: AtomicU64,
    pub(crate) queue_full: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) unreachable: AtomicU64,
    pub(crate) stopped: AtomicU64,
}

#[derive(Debug, Default)]
struct Shared {
    counts: ForwardCounters,
    queued_bytes: AtomicUsize,
    /// Of the queued messages and the one in flight.
    queued_spans: AtomicU64,
}

#[derive(Debug)]
struct QueuedMessage {
    /// An encoded `ExportTraceServiceRequest`.
    message: Bytes,
    spans: u64,
}

impl QueuedMessage {
    /// Returns the bytes that it takes in the queue.
    fn bytes(&self) -> usize {
        self.message.len() + MESSAGE_OVERHEAD
    }
}

impl Forward {
    /// Starts forwarding to `endpoint` (`http://host:port`), which may be unreachable at first. After `stop` the task
    /// ends once the queue is empty or the flush deadline has passed.
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
            return Err(invalid("must be http://host:port".to_owned()));
        }
        let channel = channel.connect_lazy();
        let (queue, messages) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(forward_queue(channel, messages, Arc::clone(&shared), stop));
        Ok((Self { queue, shared }, task))
    }

    /// Queues a message of `spans` spans, or drops and counts it. Does not wait.
    pub(crate) fn offer(&self, message: &[u8], spans: u64) {
        let bytes = message.len() + MESSAGE_OVERHEAD;
        let queued = self.shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        // Copied, since the message may be a small slice of a large buffer.
        let queued_message = || QueuedMessage { message: Bytes::copy_from_slice(message), spans };
        self.shared.queued_spans.fetch_add(spans, Ordering::Relaxed);
        // An empty queue accepts a message of any size.
        let reason = if queued > 0 && queued + bytes > QUEUE_BYTES {
            &self.shared.counts.queue_full
        } else if self.queue.send(queued_message()).is_err() {
            &self.shared.counts.stopped
        } else {
            return;
        };
        self.shared.remove_from_queue(bytes, spans);
        if reason.fetch_add(spans, Ordering::Relaxed) == 0 {
            tracing::warn!("forward queue is full: further spans are dropped and counted");
        }
    }

    /// Returns the counters.
    pub(crate) fn counts(&self) -> &ForwardCounters {
        &self.shared.counts
    }

    /// Returns the bytes and spans in the queue.
    pub(crate) fn queued(&self) -> (usize, u64) {
        let Shared { queued_bytes, queued_spans, .. } = &*self.shared;
        (queued_bytes.load(Ordering::Relaxed), queued_spans.load(Ordering::Relaxed))
    }
}

impl Shared {
    fn remove_from_queue(&self, bytes: usize, spans: u64) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.queued_spans.fetch_sub(spans, Ordering::Relaxed);
    }
}

/// Forwards the queued messages one after another.
async fn forward_queue(
    channel: Channel,
    mut messages: mpsc::UnboundedReceiver<QueuedMessage>,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    let deadline = async {
        stop.cancelled().await;
        tokio::time::sleep(FLUSH_DEADLINE).await;
    };
    tokio::pin!(deadline);
    let mut health = Health::default();
    loop {
        let next = tokio::select! {
            biased;
            () = &mut deadline => break,
            next = messages.recv() => next,
            // Polled last: after the stop, the queue is flushed first.
            () = stop.cancelled() => None,
        };
        let Some(queued) = next else { break };
        let bytes = queued.bytes();
        let QueuedMessage { message, spans } = queued;
        let outcome = tokio::select! {
            biased;
            outcome = send(&channel, message, &mut health) => outcome,
            () = &mut deadline => SendOutcome::Stopped,
        };
        shared.remove_from_queue(bytes, spans);
        shared.counts.add(&outcome, spans);
        health.record(&outcome);
        if let SendOutcome::Stopped = outcome {
            break;
        }
    }
    messages.close();
    while let Ok(queued) = messages.try_recv() {
        shared.remove_from_queue(queued.bytes(), queued.spans);
        shared.counts.add(&SendOutcome::Stopped, queued.spans);
    }
    shared.counts.log();
}

#[derive(Debug)]
enum SendOutcome {
    /// Accepted, except for this number of spans.
    Sent(u64),
    Refused(Status),
    Unreachable(Status),
    Stopped,
}

/// Logs when forwarding begins to fail and when it recovers, instead of every failure.
#[derive(Debug, Default)]
struct Health {
    failing: bool,
}

impl Health {
    /// Updates the state after a message.
    fn record(&mut self, outcome: &SendOutcome) {
        match outcome {
            SendOutcome::Refused(status) | SendOutcome::Unreachable(status) => self.failed(status),
            SendOutcome::Sent(_) if self.failing => {
                self.failing = false;
                tracing::info!("forwarding works again");
            }
            SendOutcome::Sent(_) | SendOutcome::Stopped => {}
        }
    }

    /// Notes a failed attempt.
    fn failed(&mut self, status: &Status) {
        if !self.failing {
            self.failing = true;
            tracing::warn!(%status, "cannot forward spans: they are dropped and counted after the last attempt");
        }
    }
}

impl ForwardCounters {
    /// Logs the counts at the end, when the metrics are no longer available.
    fn log(&self) {
        let [sent, queue_full, refused, rejected, unreachable, stopped] =
            [&self.sent, &self.queue_full, &self.refused, &self.rejected, &self.unreachable, &self.stopped]
                .map(|count| count.load(Ordering::Relaxed));
        if queue_full + refused + rejected + unreachable + stopped > 0 {
            tracing::warn!(
                sent,
                queue_full,
                refused,
                rejected,
                unreachable,
                stopped,
                "spans were dropped instead of forwarded"
            );
        }
    }

    fn add(&self, outcome: &SendOutcome, mut spans: u64) {
        let count = match outcome {
            SendOutcome::Sent(rejected) => {
                let rejected = spans.min(*rejected);
                self.rejected.fetch_add(rejected, Ordering::Relaxed);
                spans -= rejected;
                &self.sent
            }
            SendOutcome::Refused(_) => &self.refused,
            SendOutcome::Unreachable(_) => &self.unreachable,
            SendOutcome::Stopped => &self.stopped,
        };
        count.fetch_add(spans, Ordering::Relaxed);
    }
}

/// Sends a message, with retries.
async fn send(channel: &Channel, message: Bytes, health: &mut Health) -> SendOutcome {
    let mut last = None;
    for delay in RETRY_DELAYS.into_iter().map(Some).chain([None]) {
        let attempt = tokio::time::timeout(ATTEMPT_TIMEOUT, export::export(channel, message.clone()));
        let outcome = attempt.await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no reply within 5 s")));
        match outcome {
            Ok(rejected) => return SendOutcome::Sent(rejected),
            Err(status) if !export::is_retryable(&status) => return SendOutcome::Refused(status),
            Err(status) => {
                health.failed(&status);
                last = Some(status);
            }
        }
        if let Some(delay) = delay {
            let requested = last.as_ref().and_then(export::retry_delay).unwrap_or_default();
            tokio::time::sleep(delay.max(requested.min(MAX_RETRY_DELAY))).await;
        }
    }
    SendOutcome::Unreachable(last.unwrap_or_else(|| Status::unavailable("")))
}
