//! Traces in the JSON of Jaeger's UI, as `/api/traces` returns them and the UI exports and imports them.
//!
//! Parsing is the inverse of serialization, apart from what the format does not represent: times are whole microseconds,
//! lists and maps become text, and links keep only their ids and type. Parents and links share one list of references:
//!
//! - The parent is the first CHILD_OF within the trace, or else the first reference if it lies within the trace.
//! - A link to the parent is restored as the first link, and only if its type is FOLLOWS_FROM.
//!
//! Malformed input is an error. No published crate reads or writes this format.

mod list;
mod tag;
mod reference;
mod reserved;
mod parse;

use serde::{Deserialize, Serialize, Serializer};

use super::{adjust, model};
use crate::trace::Trace;

/// A trace that is an element of `data` in the UI's JSON.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "parse::InputTrace")]
pub struct UiTrace(pub Trace);

impl UiTrace {
    /// Applies the adjusters of `/api/traces`: sorts attributes by key and events by time, and removes duplicate spans and
    /// links without a trace id.
    pub fn adjusted(trace: Trace) -> Self {
        Self(adjust::adjusted(trace))
    }
}

impl Serialize for UiTrace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        model::TraceJson::from(&self.0).serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
