//! Answers to queries: Jaeger's API, and what the workbench adds to it.

pub(crate) mod answer;
pub(crate) mod jaeger;
pub(crate) mod workbench;
