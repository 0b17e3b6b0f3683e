//! Traces in the JSON of Jaeger's UI, as `/api/traces` returns them and the UI exports and imports them.
//!
//! Parsing is the inverse of serialization, apart from what the format does not represent: times are whole microseconds,
//! lists and maps become text, and links keep only their ids and type. Parents and links share one list of references:
//!
//! - The parent is the first CHILD_OF within the trace, or else the first reference if it is a FOLLOWS_FROM within the trace.
//! - A link to the parent is restored as the first link, and only if it is marked as `follows_from`.
//!
//! Input is accepted as the UI accepts it: only ids and a list of spans are required, values of tags may have any type, and
//! times may be negative or have decimals. An error names the trace and the span. No published crate reads or writes this
//! format.

mod list;
mod lenient;
mod tag;
mod reference;
mod reserved;
mod input;
mod parse;

use serde::{Deserialize, Serialize, Serializer};

use super::adjust::Adjuster;
use super::model;
use crate::trace::Trace;

/// A trace that is an element of `data` in the UI's JSON.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "input::InputTrace")]
pub struct UiTrace(pub Trace);

impl UiTrace {
    /// Applies Jaeger's sanitizers and query adjusters, as `/api/traces` does with its default settings.
    pub fn adjusted(trace: Trace) -> Self {
        Self(Adjuster::default().answer(trace, false))
    }
}

impl Serialize for UiTrace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        model::TraceJson::from(&self.0).serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
