//! Passes every message on, as it came, to a second OTLP backend, such as a real Jaeger, and never makes a sender wait for it.
//!
//! Messages wait in a queue bounded by bytes. When it is full, when the backend refuses one for good, or when it does
//! not take it in a few attempts, the message's spans are dropped and counted by reason.

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

/// What may wait, in bytes.
const QUEUE_BYTES: usize = 8 << 20;

/// What a waiting message takes beside its bytes: its place in the queue, its allocation's head.
const WAITING_OVERHEAD: usize = 128;

/// One attempt, and the pauses before the second, third and fourth.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1600)];

/// A backend that asks for more does not get it: what comes meanwhile has to wait, too.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// After the stop, what still waits may take this long.
const FLUSH_DEADLINE: Duration = Duration::from_secs(3);

/// The queue's near end.
#[derive(Debug)]
pub(crate) struct Forward {
    queue: mpsc::UnboundedSender<Waiting>,
    shared: Arc<Shared>,
}

/// Spans passed on, and those that were not, by reason: `refused` with their whole message, `rejected` alone.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: AtomicU64,
    pub(crate) queue_full: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) unreachable: AtomicU64,
    pub(crate) stopped: AtomicU64,
}

#[derive(Debug, Default)]
struct Shared {
    counts: Counts,
    queued_bytes: AtomicUsize,
    /// Of the messages that wait, and of the one that is being sent.
    queued_spans: AtomicU64,
}

#[derive(Debug)]
struct Waiting {
    /// An encoded `ExportTraceServiceRequest`, as it came.
    message: Bytes,
    spans: u64,
}

impl Waiting {
    /// What it takes in the queue.
    fn bytes(&self) -> usize {
        self.message.len() + WAITING_OVERHEAD
    }
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

    /// Queues a message with so many spans, or drops and counts it. Never waits.
    pub(crate) fn offer(&self, message: &[u8], spans: u64) {
        let bytes = message.len() + WAITING_OVERHEAD;
        let queued = self.shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        // A copy, for the message may be a small part of a buffer that it would keep.
        let waiting = || Waiting { message: Bytes::copy_from_slice(message), spans };
        self.shared.queued_spans.fetch_add(spans, Ordering::Relaxed);
        // An empty queue takes a message of any size.
        let reason = if queued > 0 && queued + bytes > QUEUE_BYTES {
            &self.shared.counts.queue_full
        } else if self.queue.send(waiting()).is_err() {
            &self.shared.counts.stopped
        } else {
            return;
        };
        self.shared.leave_queue(bytes, spans);
        if reason.fetch_add(spans, Ordering::Relaxed) == 0 {
            tracing::warn!(
                "more spans come than can be passed on: what finds no room is dropped and counted"
            );
        }
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// Bytes and spans that wait.
    pub(crate) fn queued(&self) -> (usize, u64) {
        let Shared { queued_bytes, queued_spans, .. } = &*self.shared;
        (queued_bytes.load(Ordering::Relaxed), queued_spans.load(Ordering::Relaxed))
    }
}

impl Shared {
    fn leave_queue(&self, bytes: usize, spans: u64) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.queued_spans.fetch_sub(spans, Ordering::Relaxed);
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
        let Some(waiting) = next else { break };
        let bytes = waiting.bytes();
        let Waiting { message, spans } = waiting;
        let outcome = tokio::select! {
            biased;
            outcome = send(&channel, message, &mut health) => outcome,
            () = &mut overdue => Outcome::Stopped,
        };
        shared.leave_queue(bytes, spans);
        shared.counts.add(&outcome, spans);
        health.note(&outcome);
        if let Outcome::Stopped = outcome {
            break;
        }
    }
    waiting.close();
    while let Ok(left) = waiting.try_recv() {
        shared.leave_queue(left.bytes(), left.spans);
        shared.counts.add(&Outcome::Stopped, left.spans);
    }
    shared.counts.log();
}

#[derive(Debug)]
enum Outcome {
    /// Taken, but for so many of its spans.
    Sent(u64),
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
            Outcome::Refused(status) | Outcome::Unreachable(status) => self.trouble(status),
            Outcome::Sent(_) if self.failing => {
                self.failing = false;
                tracing::info!("spans are passed on again");
            }
            Outcome::Sent(_) | Outcome::Stopped => {}
        }
    }

    /// An attempt failed.
    fn trouble(&mut self, status: &Status) {
        if !self.failing {
            self.failing = true;
            tracing::warn!(%status, "spans cannot be passed on: what does not get through is dropped and counted");
        }
    }
}

impl Counts {
    /// At the end, for nobody can ask for the counts any more.
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
                "not all spans were passed on before the stop"
            );
        }
    }

    fn add(&self, outcome: &Outcome, mut spans: u64) {
        let count = match outcome {
            Outcome::Sent(rejected) => {
                let rejected = spans.min(*rejected);
                self.rejected.fetch_add(rejected, Ordering::Relaxed);
                spans -= rejected;
                &self.sent
            }
            Outcome::Refused(_) => &self.refused,
            Outcome::Unreachable(_) => &self.unreachable,
            Outcome::Stopped => &self.stopped,
        };
        count.fetch_add(spans, Ordering::Relaxed);
    }
}

async fn send(channel: &Channel, message: Bytes, health: &mut Health) -> Outcome {
    let mut last = None;
    for pause in PAUSES.into_iter().map(Some).chain([None]) {
        let attempt = tokio::time::timeout(ATTEMPT_TIMEOUT, export::export(channel, message.clone()));
        let outcome = attempt.await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no reply in time")));
        match outcome {
            Ok(rejected) => return Outcome::Sent(rejected),
            Err(status) if !export::is_worth_retrying(&status) => return Outcome::Refused(status),
            Err(status) => {
                health.trouble(&status);
                last = Some(status);
            }
        }
        if let Some(pause) = pause {
            let asked = last.as_ref().and_then(export::asked_pause).unwrap_or_default();
            tokio::time::sleep(pause.max(asked.min(LONGEST_PAUSE))).await;
        }
    }
    Outcome::Unreachable(last.unwrap_or_else(|| Status::unavailable("")))
}
