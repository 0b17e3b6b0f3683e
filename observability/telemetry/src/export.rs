//! The span processor: a bounded queue and one thread that exports batches over OTLP/gRPC.
//!
//! The batch processor of opentelemetry_sdk was considered: it only logs what it drops. This one counts every span that
//! ended, was exported or was dropped, and reports which traces lost spans, so that the collector's ledger can name them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::Context;
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter as _, SpanProcessor};

mod limits;
mod loss;

use crate::attribute::MAX_VALUE_BYTES;
use crate::contract::DropReason;
use crate::settings::Settings;
use loss::DroppedSpans;

/// Maximum time to retry one batch before its spans are dropped; enough for a collector to restart.
const RETRY_DEADLINE: Duration = Duration::from_secs(10);
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// Maximum size of the spans that wait for export, approximately.
const MAX_QUEUE_BYTES: usize = 128 << 20;
/// Maximum size of one batch, approximately. A receiver of OTLP accepts 4 MiB unless it is configured otherwise.
const MAX_BATCH_BYTES: usize = 2 << 20;
/// gRPC codes that mean that the backend will not accept the same spans later. See the OTLP specification, "Failures".
const PERMANENT: [&str; 7] = [
    "InvalidArgument",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "FailedPrecondition",
    "Unimplemented",
    "Unauthenticated",
];
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

static COUNTS: Counters = Counters {
    ended: AtomicU64::new(0),
    exported: AtomicU64::new(0),
    queue_full: AtomicU64::new(0),
    export_failed: AtomicU64::new(0),
};

struct Counters {
    ended: AtomicU64,
    exported: AtomicU64,
    queue_full: AtomicU64,
    export_failed: AtomicU64,
}

/// Counts of this process's sampled spans since it started.
#[derive(Debug, Clone, Copy)]
pub struct SpanCounts {
    /// Spans that ended.
    pub ended: u64,
    /// Spans that the backend acknowledged.
    pub exported: u64,
    /// Spans dropped because the queue was full, in number or in bytes.
    pub queue_full: u64,
    /// Spans dropped because the backend refused them, or did not acknowledge them before the retry deadline.
    pub export_failed: u64,
}

/// Returns the counts of this process's sampled spans.
pub fn span_counts() -> SpanCounts {
    SpanCounts {
        ended: COUNTS.ended.load(Relaxed),
        exported: COUNTS.exported.load(Relaxed),
        queue_full: COUNTS.queue_full.load(Relaxed),
        export_failed: COUNTS.export_failed.load(Relaxed),
    }
}

/// Queues ended spans for export.
#[derive(Debug)]
pub(crate) struct BatchProcessor {
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    pending: Mutex<Pending>,
    /// Wakes the exporting thread: a batch is full, or a flush was requested.
    work: Condvar,
    /// Wakes the callers of a flush.
    idle: Condvar,
    capacity: usize,
    batch: usize,
    delay: Duration,
    /// Maximum length of an attribute value, in bytes.
    value_length: usize,
}

#[derive(Debug, Default)]
struct Pending {
    spans: VecDeque<Queued>,
    /// Size of `spans`.
    bytes: usize,
    dropped: DroppedSpans,
    resource: Option<Resource>,
    exporting: bool,
    flush: bool,
    stop: bool,
}

#[derive(Debug)]
struct Queued {
    span: SpanData,
    bytes: usize,
}

impl BatchProcessor {
    /// Starts the exporting thread. `endpoint` is the URL of an OTLP/gRPC receiver.
    pub(crate) fn start(endpoint: String, settings: &Settings) -> std::io::Result<Self> {
        let queue = Arc::new(Queue {
            pending: Mutex::default(),
            work: Condvar::new(),
            idle: Condvar::new(),
            capacity: settings.span_queue_size.max(1),
            batch: settings.span_batch_size.clamp(1, settings.span_queue_size.max(1)),
            delay: settings.span_delay,
            value_length: settings.attribute_value_length.min(MAX_VALUE_BYTES),
        });
        let worker = Arc::clone(&queue);
        std::thread::Builder::new().name("span-export".into()).spawn(move || worker.run(&endpoint))?;
        Ok(Self { queue })
    }
}

impl SpanProcessor for BatchProcessor {
    fn on_start(&self, _span: &mut Span, _cx: &Context) {}

    fn on_end(&self, mut span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        COUNTS.ended.fetch_add(1, Relaxed);
        let bytes = limits::cut(&mut span, self.queue.value_length);
        let mut pending = self.queue.lock();
        let is_full = pending.spans.len() >= self.queue.capacity || pending.bytes + bytes > MAX_QUEUE_BYTES;
        if is_full || pending.stop {
            COUNTS.queue_full.fetch_add(1, Relaxed);
            pending.dropped.record(DropReason::QueueFull, span.span_context.trace_id());
            return;
        }
        let was_full = self.queue.has_full_batch(&pending);
        pending.bytes += bytes;
        pending.spans.push_back(Queued { span, bytes });
        // The thread also wakes after the delay. A wake-up for each span would cost more than the span.
        if !was_full && self.queue.has_full_batch(&pending) {
            self.queue.work.notify_one();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.queue.wait_until_empty(Duration::from_secs(5))
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.queue.lock().stop = true;
        self.queue.wait_until_empty(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.queue.lock().resource = Some(resource.clone());
    }
}

impl Pending {
    /// Removes the oldest spans: up to `max` and up to [`MAX_BATCH_BYTES`], but at least one.
    fn take_batch(&mut self, max: usize) -> Vec<SpanData> {
        let mut bytes = 0;
        let fits = |queued: &&Queued| {
            bytes += queued.bytes;
            bytes <= MAX_BATCH_BYTES
        };
        let length = self.spans.iter().take(max).take_while(fits).count().max(1).min(self.spans.len());
        let queued = self.spans.drain(..length);
        queued.inspect(|queued| self.bytes -= queued.bytes).map(|queued| queued.span).collect()
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_full_batch(&self, pending: &Pending) -> bool {
        pending.spans.len() >= self.batch || pending.bytes >= MAX_BATCH_BYTES
    }

    fn wait_until_empty(&self, timeout: Duration) -> OTelSdkResult {
        let mut pending = self.lock();
        pending.flush = true;
        self.work.notify_one();
        let (_pending, waited) = self
            .idle
            .wait_timeout_while(pending, timeout, |pending| pending.exporting || !pending.spans.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() { Err(OTelSdkError::Timeout(timeout)) } else { Ok(()) }
    }

    /// Exports until the processor stops. Uses a runtime of its own, so that the service and the export do not delay each
    /// other.
    fn run(&self, endpoint: &str) {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
            tracing::error!("cannot start the runtime of the span exporter: all spans are dropped");
            return;
        };
        let _runtime = runtime.enter();
        let exporter =
            OtlpExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT).build();
        let mut exporter = match exporter {
            Ok(exporter) => exporter,
            Err(error) => {
                tracing::error!(%error, "cannot start the span exporter: all spans are dropped");
                return;
            }
        };
        loop {
            let (batch, stopping) = self.next_batch();
            // The provider sets the resource after this thread started and before the first span ends.
            if let Some(resource) = self.lock().resource.take() {
                exporter.set_resource(&resource);
            }
            if batch.is_empty() {
                runtime.block_on(self.report_dropped(&exporter));
            } else {
                runtime.block_on(self.export(&exporter, batch));
            }
            let mut pending = self.lock();
            pending.exporting = false;
            if pending.spans.is_empty() {
                pending.flush = false;
                self.idle.notify_all();
                if stopping {
                    return;
                }
            }
        }
    }

    /// Waits for a full batch, the delay or a flush, and returns the batch, which may be empty, and whether to stop.
    fn next_batch(&self) -> (Vec<SpanData>, bool) {
        let (mut pending, _) = self
            .work
            .wait_timeout_while(self.lock(), self.delay, |pending| {
                !self.has_full_batch(pending) && !pending.flush && !pending.stop
            })
            .unwrap_or_else(PoisonError::into_inner);
        let batch = pending.take_batch(self.batch);
        pending.exporting = !batch.is_empty();
        (batch, pending.stop)
    }

    /// Exports `batch`. Retries for [`RETRY_DEADLINE`], unless the backend refuses the spans for good.
    async fn export(&self, exporter: &OtlpExporter, batch: Vec<SpanData>) {
        let spans = batch.len() as u64;
        let deadline = Instant::now() + RETRY_DEADLINE;
        loop {
            match exporter.export(batch.clone()).await {
                Ok(()) => {
                    COUNTS.exported.fetch_add(spans, Relaxed);
                    return self.report_dropped(exporter).await;
                }
                Err(error) if is_permanent(&error) || Instant::now() >= deadline || self.lock().stop => {
                    COUNTS.export_failed.fetch_add(spans, Relaxed);
                    tracing::warn!(%error, spans, "spans dropped: the backend did not accept them");
                    let mut pending = self.lock();
                    for span in &batch {
                        pending.dropped.record(DropReason::ExportFailed, span.span_context.trace_id());
                    }
                    return;
                }
                Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
    }

    /// Reports to the backend which traces lost spans. Called when the backend is likely to accept spans.
    async fn report_dropped(&self, exporter: &OtlpExporter) {
        let dropped = std::mem::take(&mut self.lock().dropped);
        if dropped.is_empty() {
            return;
        }
        if exporter.export(dropped.report()).await.is_err() {
            self.lock().dropped.merge(dropped);
        }
    }
}

/// Returns whether a retry cannot succeed. The exporter gives the code of the response only as text.
fn is_permanent(error: &OTelSdkError) -> bool {
    let OTelSdkError::InternalFailure(text) = error else { return false };
    let code = text.split_once("gRPC code: ").map_or("", |(_, rest)| rest);
    let code = code.split(|c: char| !c.is_ascii_alphabetic()).next();
    code.is_some_and(|code| PERMANENT.contains(&code))
}

#[cfg(test)]
mod tests;
