//! Proves to the balancer that it may continue the traces of this process, and checks that it does.
//!
//! A balancer starts a new trace for a caller that it does not trust. The report would then have no spans of the system.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use opentelemetry::trace::TraceContextExt as _;
use reqwest::header::{HeaderMap, HeaderValue};
use system::settings::Secret;
use telemetry::client::ClientSpan;
use telemetry::{contract, propagation};

/// The secret that the balancer knows as `TRUST_TRACEPARENT_SECRET`.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct TraceTrust {
    /// Secret of the balancer's TRUST_TRACEPARENT_SECRET; not needed from a network of its TRUST_TRACEPARENT
    #[arg(long, value_name = "SECRET", env = "WORKBENCH_TRACE_SECRET", hide_env_values = true)]
    trace_secret: Option<Secret>,
    /// File that contains this secret; takes precedence over --trace-secret
    #[arg(long, value_name = "FILE", env = "WORKBENCH_TRACE_SECRET_FILE")]
    trace_secret_file: Option<PathBuf>,
}

impl TraceTrust {
    /// Returns the header of every request to the target: the secret, if there is one.
    pub(super) fn headers(&self) -> anyhow::Result<HeaderMap> {
        let secret = match (&self.trace_secret_file, &self.trace_secret) {
            (Some(path), _) => fs::read_to_string(path).with_context(|| {
                format!("cannot read the secret in {} (--trace-secret-file)", path.display())
            })?,
            (None, Some(secret)) => secret.expose().to_owned(),
            (None, None) => return Ok(HeaderMap::new()),
        };
        let mut value = HeaderValue::from_str(secret.trim_end())
            .context("the secret must contain only visible ASCII characters (--trace-secret)")?;
        value.set_sensitive(true);
        Ok(HeaderMap::from_iter([(contract::TRACE_SECRET, value)]))
    }
}

/// Fails if the reply to the request of `span` belongs to another trace. A reply without a trace proves nothing.
pub(super) fn check(span: &ClientSpan, reply: &HeaderMap, target: &str) -> anyhow::Result<()> {
    let sent = span.context().span().span_context().trace_id();
    ensure!(
        propagation::answering_trace(reply).is_none_or(|answered| answered == sent),
        "{target} does not continue the traces of this machine, so the run could not be explained: add the address of this \
         machine to TRUST_TRACEPARENT of the balancer, or set its TRUST_TRACEPARENT_SECRET and --trace-secret to one secret"
    );
    Ok(())
}
