//! Traces in the JSON of Jaeger's UI: what `/api/traces` answers, and what the UI saves and takes as a file.
//!
//! Reading is the inverse of writing, as far as that JSON holds what OTLP does: times are whole microseconds, lists and
//! maps have become text, and of links only the ids and the kind are left. A link to the parent is the first of the links,
//! however many there were and wherever they stood, and none if it is `child_of`; and a span without a parent gets one if a
//! link of it within its trace is `child_of`, or stands first: nothing else tells a parent. What cannot be read is an error,
//! never a guess.

mod list;
mod read;
mod reference;
mod reserved;
mod tag;

use serde::{Deserialize, Serialize, Serializer};

use super::{adjust, model};
use crate::trace::Trace;

/// A trace that is one element of `data` in JSON.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "read::Trace")]
pub struct UiTrace(pub Trace);

impl UiTrace {
    /// As `/api/traces` shows it: attributes by key, events by time, no span twice, no link to nowhere.
    pub fn adjusted(trace: Trace) -> Self {
        Self(adjust::adjusted(trace))
    }
}

impl Serialize for UiTrace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        model::Trace::from(&self.0).serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
