//! The search form: its fields as entered, and the search they describe.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::tags::{self, ParseTagsError};
use crate::go_syntax;
use crate::store::{ParsePositionError, Position, Query, SortOrder};

/// Default number of traces shown.
pub(super) const DEFAULT_LIMIT: usize = 20;
/// Maximum number of traces shown, as in Jaeger's UI.
pub(super) const MAX_LIMIT: usize = 1500;

/// Value of `sort` for the longest traces first.
pub(super) const LONGEST: &str = "longest";

/// The fields as entered; an empty field does not restrict the search.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Form {
    pub(super) service: String,
    pub(super) operation: String,
    pub(super) tags: String,
    pub(super) min_duration: String,
    pub(super) max_duration: String,
    /// Duration of the range that ends now; ignored if `from` or `to` is given.
    pub(super) last: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) limit: String,
    /// `longest`, or empty for the latest first.
    pub(super) sort: String,
    /// Position after which the page begins, from the link to it.
    pub(super) after: String,
}

/// What the form describes.
#[derive(Debug, Clone)]
pub(super) struct Search {
    pub(super) query: Query,
    pub(super) order: SortOrder,
    pub(super) after: Option<Position>,
}

/// A field that can be invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FormField {
    Tags,
    MinDuration,
    MaxDuration,
    Last,
    From,
    To,
    Limit,
    Sort,
    After,
}

impl FormField {
    /// Returns the name in a query string.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Tags => "tags",
            Self::MinDuration => "minDuration",
            Self::MaxDuration => "maxDuration",
            Self::Last => "last",
            Self::From => "from",
            Self::To => "to",
            Self::Limit => "limit",
            Self::Sort => "sort",
            Self::After => "after",
        }
    }
}

/// An error in a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FieldError {
    #[error(transparent)]
    Tags(#[from] ParseTagsError),
    #[error("enter a number and a unit, such as 1.2ms, 3s or 1m30s")]
    Duration,
    #[error("enter a time from 1970 to 2554, such as 2026-01-31T09:30:00Z")]
    Time,
    #[error("enter a number from 1 to {MAX_LIMIT}")]
    Limit,
    #[error("the maximum duration is less than the minimum duration")]
    MaxBelowMin,
    #[error("the end is before the start")]
    EndBeforeStart,
    #[error("enter {LONGEST:?}, or nothing for the latest first")]
    Sort,
    #[error(transparent)]
    After(#[from] ParsePositionError),
}

pub(super) type FieldErrors = BTreeMap<FormField, FieldError>;

impl Form {
    /// Returns the search at the time `now_ns`, or the errors of all invalid fields.
    pub(super) fn search(&self, now_ns: u64) -> Result<Search, FieldErrors> {
        let mut errors = FieldErrors::new();
        let query = Query {
            service: non_empty(&self.service).map(str::to_owned),
            operation: non_empty(&self.operation).map(str::to_owned),
            tags: record(&mut errors, FormField::Tags, tags::parse(&self.tags)).unwrap_or_default(),
            start_ns: self.time(now_ns, &mut errors),
            duration_ns: self.duration(&mut errors),
            limit: record(&mut errors, FormField::Limit, limit(&self.limit)).unwrap_or(DEFAULT_LIMIT),
        };
        let order = record(&mut errors, FormField::Sort, sort(&self.sort)).unwrap_or_default();
        let after = optional(&mut errors, FormField::After, &self.after, str::parse);
        if errors.is_empty() { Ok(Search { query, order, after }) } else { Err(errors) }
    }

    /// Returns whether a field restricts the search. The order and the page do not.
    pub(super) fn is_restricted(&self) -> bool {
        *self != Self { sort: self.sort.clone(), after: self.after.clone(), ..Self::default() }
    }

    /// Returns the query string of the same search from `after` on.
    pub(super) fn link(&self, after: Option<Position>) -> String {
        let after = after.map(|after| after.to_string()).unwrap_or_default();
        let pairs = [
            ("service", &self.service),
            ("operation", &self.operation),
            ("tags", &self.tags),
            ("minDuration", &self.min_duration),
            ("maxDuration", &self.max_duration),
            ("last", &self.last),
            ("from", &self.from),
            ("to", &self.to),
            ("limit", &self.limit),
            ("sort", &self.sort),
            ("after", &after),
        ];
        let given = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        let pair = |(name, value): (&str, &String)| {
            format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))
        };
        given.map(pair).collect::<Vec<_>>().join("&")
    }

    fn time(&self, now_ns: u64, errors: &mut FieldErrors) -> RangeInclusive<u64> {
        if non_empty(&self.from).is_none() && non_empty(&self.to).is_none() {
            let last = optional(errors, FormField::Last, &self.last, duration);
            // Open-ended, because a sender's clock may run ahead.
            return last.map_or(0, |last| now_ns.saturating_sub(last))..=u64::MAX;
        }
        let from = optional(errors, FormField::From, &self.from, instant);
        let to = optional(errors, FormField::To, &self.to, instant);
        ordered(from, to, || errors.insert(FormField::To, FieldError::EndBeforeStart))
    }

    fn duration(&self, errors: &mut FieldErrors) -> RangeInclusive<u64> {
        let min = optional(errors, FormField::MinDuration, &self.min_duration, duration);
        let max = optional(errors, FormField::MaxDuration, &self.max_duration, duration);
        ordered(min, max, || errors.insert(FormField::MaxDuration, FieldError::MaxBelowMin))
    }
}

/// Returns the trimmed text unless it is empty.
fn non_empty(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

fn optional<T, E: Into<FieldError>>(
    errors: &mut FieldErrors,
    field: FormField,
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    record(errors, field, non_empty(text).map(parse)?)
}

fn record<T, E: Into<FieldError>>(
    errors: &mut FieldErrors,
    field: FormField,
    parsed: Result<T, E>,
) -> Option<T> {
    parsed.map_err(|error| errors.insert(field, error.into())).ok()
}

fn ordered<T>(first: Option<u64>, last: Option<u64>, reversed: impl FnOnce() -> T) -> RangeInclusive<u64> {
    let (first, last) = (first.unwrap_or(0), last.unwrap_or(u64::MAX));
    if first > last {
        reversed();
    }
    first..=last
}

fn duration(text: &str) -> Result<u64, FieldError> {
    go_syntax::parse_duration(text).map_err(|_| FieldError::Duration)
}

fn instant(text: &str) -> Result<u64, FieldError> {
    let ns = go_syntax::parse_time(text).map_err(|_| FieldError::Time)?;
    u64::try_from(ns).map_err(|_| FieldError::Time)
}

fn sort(text: &str) -> Result<SortOrder, FieldError> {
    match text.trim() {
        "" => Ok(SortOrder::Latest),
        LONGEST => Ok(SortOrder::Longest),
        _ => Err(FieldError::Sort),
    }
}

fn limit(text: &str) -> Result<usize, FieldError> {
    let Some(text) = non_empty(text) else { return Ok(DEFAULT_LIMIT) };
    let number = text.parse().map_err(|_| FieldError::Limit)?;
    if (1..=MAX_LIMIT).contains(&number) { Ok(number) } else { Err(FieldError::Limit) }
}

#[cfg(test)]
mod tests;
