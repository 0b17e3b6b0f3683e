//! The search form: what was typed, and the query that it means.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::Deserialize;

use super::tags::{self, ParseTagsError};
use crate::go_syntax;
use crate::store::Query;

/// Traces shown unless the form says otherwise.
pub(super) const LIMIT: usize = 20;
/// As in Jaeger's UI.
pub(super) const LARGEST_LIMIT: usize = 1500;

/// The fields as they were typed; one that is empty asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Form {
    pub(super) service: String,
    pub(super) operation: String,
    pub(super) tags: String,
    pub(super) min_duration: String,
    pub(super) max_duration: String,
    /// The time up to now; counts only if neither `from` nor `to` is given.
    pub(super) last: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) limit: String,
}

/// A field that can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    Tags,
    MinDuration,
    MaxDuration,
    Last,
    From,
    To,
    Limit,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Mistake {
    #[error(transparent)]
    Tags(#[from] ParseTagsError),
    #[error("a duration is a number with its unit, such as 1.2ms, 3s or 1m30s")]
    Duration,
    #[error("a time looks like 2026-01-31T09:30:00Z, from 1970 to 2554")]
    Time,
    #[error("the limit is a number from 1 to {LARGEST_LIMIT}")]
    Limit,
    #[error("this is less than the shortest duration")]
    ShorterThanShortest,
    #[error("this is before the start")]
    BeforeStart,
}

pub(super) type Mistakes = BTreeMap<Field, Mistake>;

impl Form {
    /// What the form asks for at this moment, or every field that makes no sense.
    pub(super) fn query(&self, now_ns: u64) -> Result<Query, Mistakes> {
        let mut mistakes = Mistakes::new();
        let query = Query {
            service: given(&self.service).map(str::to_owned),
            operation: given(&self.operation).map(str::to_owned),
            tags: note(&mut mistakes, Field::Tags, tags::parse(&self.tags)).unwrap_or_default(),
            start_ns: self.time(now_ns, &mut mistakes),
            duration_ns: self.duration(&mut mistakes),
            limit: note(&mut mistakes, Field::Limit, limit(&self.limit)).unwrap_or(LIMIT),
        };
        if mistakes.is_empty() { Ok(query) } else { Err(mistakes) }
    }

    fn time(&self, now_ns: u64, mistakes: &mut Mistakes) -> RangeInclusive<u64> {
        if given(&self.from).is_none() && given(&self.to).is_none() {
            let last = optional(mistakes, Field::Last, &self.last, duration);
            // A sender's clock may run ahead: there is no end.
            return last.map_or(0, |last| now_ns.saturating_sub(last))..=u64::MAX;
        }
        let from = optional(mistakes, Field::From, &self.from, instant);
        let to = optional(mistakes, Field::To, &self.to, instant);
        ordered(from, to, || mistakes.insert(Field::To, Mistake::BeforeStart))
    }

    fn duration(&self, mistakes: &mut Mistakes) -> RangeInclusive<u64> {
        let min = optional(mistakes, Field::MinDuration, &self.min_duration, duration);
        let max = optional(mistakes, Field::MaxDuration, &self.max_duration, duration);
        ordered(min, max, || mistakes.insert(Field::MaxDuration, Mistake::ShorterThanShortest))
    }
}

/// What was typed, without the blanks around it.
fn given(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

fn optional<T, E: Into<Mistake>>(
    mistakes: &mut Mistakes,
    field: Field,
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    note(mistakes, field, given(text).map(parse)?)
}

fn note<T, E: Into<Mistake>>(mistakes: &mut Mistakes, field: Field, parsed: Result<T, E>) -> Option<T> {
    parsed.map_err(|error| mistakes.insert(field, error.into())).ok()
}

fn ordered<T>(first: Option<u64>, last: Option<u64>, reversed: impl FnOnce() -> T) -> RangeInclusive<u64> {
    let (first, last) = (first.unwrap_or(0), last.unwrap_or(u64::MAX));
    if first > last {
        reversed();
    }
    first..=last
}

fn duration(text: &str) -> Result<u64, Mistake> {
    go_syntax::parse_duration(text).map_err(|_| Mistake::Duration)
}

fn instant(text: &str) -> Result<u64, Mistake> {
    let ns = go_syntax::parse_time(text).map_err(|_| Mistake::Time)?;
    u64::try_from(ns).map_err(|_| Mistake::Time)
}

fn limit(text: &str) -> Result<usize, Mistake> {
    let Some(text) = given(text) else { return Ok(LIMIT) };
    let number = text.parse().map_err(|_| Mistake::Limit)?;
    if (1..=LARGEST_LIMIT).contains(&number) { Ok(number) } else { Err(Mistake::Limit) }
}

#[cfg(test)]
mod tests;
