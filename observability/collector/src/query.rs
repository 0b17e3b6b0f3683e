//! Query APIs over the store: Jaeger's API and the workbench's own.

pub(crate) mod streaming;
pub(crate) mod workbench;
pub(crate) mod jaeger;
