//! The span processor: a bounded queue and one thread that exports batches over OTLP/gRPC.
//!
//! The SDK's own batch processor only logs what it drops. This one counts every span (queued, exported, dropped and
//! why) and reports which traces lost spans, so that the ledger can name the loss.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::Context;
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter as _, SpanProcessor};

mod loss;

use crate::contract::DropReason;
use crate::settings::Settings;
use loss::Losses;

/// How long one batch is tried before its spans count as lost: long enough for a collector to restart.
const RETRY_FOR: Duration = Duration::from_secs(10);
const RETRY_PAUSE: Duration = Duration::from_millis(250);
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

/// What became of this process's sampled spans since it started.
#[derive(Debug, Clone, Copy)]
pub struct SpanCounts {
    /// Spans that ended and were sampled.
    pub ended: u64,
    /// Spans that the backend acknowledged.
    pub exported: u64,
    /// Spans dropped because the queue was full.
    pub queue_full: u64,
    /// Spans given up because the backend did not take them.
    pub export_failed: u64,
}

/// Reads the process's span counters.
pub fn span_counts() -> SpanCounts {
    SpanCounts {
        ended: COUNTS.ended.load(Relaxed),
        exported: COUNTS.exported.load(Relaxed),
        queue_full: COUNTS.queue_full.load(Relaxed),
        export_failed: COUNTS.export_failed.load(Relaxed),
    }
}

#[derive(Debug)]
pub(super) struct BatchProcessor {
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    /// Wakes the exporting thread: a batch is full, or somebody waits for a flush.
    work: Condvar,
    /// Wakes those who wait for a flush.
    idle: Condvar,
    capacity: usize,
    batch: usize,
    delay: Duration,
}

#[derive(Debug, Default)]
struct State {
    spans: Vec<SpanData>,
    losses: Losses,
    resource: Option<Resource>,
    exporting: bool,
    flush: bool,
    stop: bool,
}

impl BatchProcessor {
    pub(super) fn start(endpoint: String, settings: &Settings) -> std::io::Result<Self> {
        let queue = Arc::new(Queue {
            state: Mutex::default(),
            work: Condvar::new(),
            idle: Condvar::new(),
            capacity: settings.span_queue_size.max(1),
            batch: settings.span_batch_size.clamp(1, settings.span_queue_size.max(1)),
            delay: settings.span_delay,
        });
        let worker = Arc::clone(&queue);
        std::thread::Builder::new().name("span-export".into()).spawn(move || worker.run(&endpoint))?;
        Ok(Self { queue })
    }
}

impl SpanProcessor for BatchProcessor {
    fn on_start(&self, _span: &mut Span, _cx: &Context) {}

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        COUNTS.ended.fetch_add(1, Relaxed);
        let mut state = self.queue.lock();
        if state.spans.len() >= self.queue.capacity || state.stop {
            COUNTS.queue_full.fetch_add(1, Relaxed);
            state.losses.record(DropReason::QueueFull, span.span_context.trace_id());
            return;
        }
        state.spans.push(span);
        // The thread wakes by itself after the delay; a wake-up for every span would cost more than the span.
        if state.spans.len() == self.queue.batch {
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

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_until_empty(&self, timeout: Duration) -> OTelSdkResult {
        let mut state = self.lock();
        state.flush = true;
        self.work.notify_one();
        let (_state, waited) = self
            .idle
            .wait_timeout_while(state, timeout, |state| state.exporting || !state.spans.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() { Err(OTelSdkError::Timeout(timeout)) } else { Ok(()) }
    }

    /// The exporting thread. Its runtime is its own, so that a busy service cannot delay the export, nor be delayed.
    fn run(&self, endpoint: &str) {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
            tracing::error!("no runtime for the span exporter: spans are dropped");
            return;
        };
        let _runtime = runtime.enter();
        let exporter =
            OtlpExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT).build();
        let mut exporter = match exporter {
            Ok(exporter) => exporter,
            Err(error) => {
                tracing::error!(%error, "no span exporter: spans are dropped");
                return;
            }
        };
        loop {
            let (batch, stopping) = self.next_batch();
            // The provider tells its resource after this thread started, but before there is a span.
            if let Some(resource) = self.lock().resource.take() {
                exporter.set_resource(&resource);
            }
            if batch.is_empty() {
                runtime.block_on(self.report_losses(&exporter));
            } else {
                runtime.block_on(self.export(&exporter, batch));
            }
            let mut state = self.lock();
            state.exporting = false;
            if state.spans.is_empty() {
                state.flush = false;
                self.idle.notify_all();
                if stopping {
                    return;
                }
            }
        }
    }

    /// Waits for a full batch, the delay or a flush; the batch may be empty.
    fn next_batch(&self) -> (Vec<SpanData>, bool) {
        let (mut state, _) = self
            .work
            .wait_timeout_while(self.lock(), self.delay, |state| {
                state.spans.len() < self.batch && !state.flush && !state.stop
            })
            .unwrap_or_else(PoisonError::into_inner);
        let take = state.spans.len().min(self.batch);
        let batch: Vec<SpanData> = state.spans.drain(..take).collect();
        state.exporting = !batch.is_empty();
        (batch, state.stop)
    }

    async fn export(&self, exporter: &OtlpExporter, batch: Vec<SpanData>) {
        let spans = batch.len() as u64;
        let give_up = Instant::now() + RETRY_FOR;
        loop {
            match exporter.export(batch.clone()).await {
                Ok(()) => {
                    COUNTS.exported.fetch_add(spans, Relaxed);
                    return self.report_losses(exporter).await;
                }
                Err(error) if Instant::now() >= give_up || self.lock().stop => {
                    COUNTS.export_failed.fetch_add(spans, Relaxed);
                    tracing::warn!(%error, spans, "spans dropped: the backend did not take them");
                    let mut state = self.lock();
                    for span in &batch {
                        state.losses.record(DropReason::ExportFailed, span.span_context.trace_id());
                    }
                    return;
                }
                Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
    }

    /// The backend takes spans again: tell it which traces lost some.
    async fn report_losses(&self, exporter: &OtlpExporter) {
        let losses = std::mem::take(&mut self.lock().losses);
        if losses.is_empty() {
            return;
        }
        if exporter.export(losses.spans()).await.is_err() {
            self.lock().losses.merge(losses);
        }
    }
}
