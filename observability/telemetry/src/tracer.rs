//! The process's tracer, which every span of the raw SDK API comes from.

use std::cell::Cell;
use std::sync::OnceLock;

use opentelemetry::InstrumentationScope;
use opentelemetry::trace::{SpanId, TraceId, TracerProvider as _};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, Sampler, SdkTracer, SdkTracerProvider};

use crate::contract;

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Returns the process's tracer. Before [`init`](crate::init), as in unit tests, it records nothing.
pub fn tracer() -> &'static SdkTracer {
    TRACER.get().unwrap_or_else(|| {
        static SILENT: OnceLock<SdkTracer> = OnceLock::new();
        SILENT.get_or_init(|| of(&SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOff).build()))
    })
}

/// Returns the tracer of `provider` with the scope of this crate.
pub(crate) fn of(provider: &SdkTracerProvider) -> SdkTracer {
    let scope = InstrumentationScope::builder(contract::SCOPE).with_version(env!("CARGO_PKG_VERSION"));
    provider.tracer_with_scope(scope.build())
}

/// Makes `tracer` the process's tracer. Fails if there is one.
pub(crate) fn set(tracer: SdkTracer) -> Result<(), SdkTracer> {
    TRACER.set(tracer)
}

thread_local! {
    /// The first 64 bits of the next trace id on this thread; the SDK passes nothing to its generator of ids.
    static TRACE_GROUP: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Calls `start`, which starts a root span, whose trace id then begins with `group`. The other 64 bits are random.
pub(crate) fn in_trace_group<R>(group: u64, start: impl FnOnce() -> R) -> R {
    TRACE_GROUP.set(Some(group));
    let _end = EndTraceGroup;
    start()
}

/// Ends the trace group of this thread when dropped, also by a panic.
struct EndTraceGroup;

impl Drop for EndTraceGroup {
    fn drop(&mut self) {
        TRACE_GROUP.set(None);
    }
}

/// Random ids; those of traces in the group of [`in_trace_group`].
#[derive(Debug, Default)]
pub(crate) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        let random = self.0.new_trace_id();
        match TRACE_GROUP.get() {
            Some(group) => {
                let low = u128::from_be_bytes(random.to_bytes()) as u64;
                TraceId::from(u128::from(group) << 64 | u128::from(low))
            }
            None => random,
        }
    }

    fn new_span_id(&self) -> SpanId {
        self.0.new_span_id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_ids_of_a_group_share_their_first_half() {
        let ids = Ids::default();
        let mut of_group = (0..100).map(|_| in_trace_group(0x1234_5678_9abc_def0, || ids.new_trace_id()));
        let text = |id: TraceId| id.to_string();
        let first = of_group.next().map(text).unwrap();
        for id in of_group.map(text) {
            assert!(id.starts_with("123456789abcdef0") && id != first, "{id}");
        }
        assert!(!ids.new_trace_id().to_string().starts_with("123456789abcdef0"), "only within the call");
    }

    #[test]
    fn a_trace_group_ends_with_a_panic() {
        let ids = Ids::default();
        let panics =
            std::panic::catch_unwind(|| in_trace_group(0x1234_5678_9abc_def0, || panic!("in a group")));
        assert!(panics.is_err());
        assert!(!ids.new_trace_id().to_string().starts_with("123456789abcdef0"));
    }
}
