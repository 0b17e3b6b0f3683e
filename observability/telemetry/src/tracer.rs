//! The process's tracer, which every span of the raw SDK API comes from.

use std::sync::OnceLock;

use opentelemetry::InstrumentationScope;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};

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
