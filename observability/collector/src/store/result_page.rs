//! Pages of search results: the traces of one page, and the number of all matches.
//!
//! A page begins after the position of the last trace of the page before it, not after a number of traces, so that traces
//! that arrive meanwhile neither repeat nor hide others.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use super::entry::Entry;
use super::search::{MAX_COPIED_BYTES, is_match};
use super::{Inner, Query, Store};
use crate::trace::TraceId;

/// Maximum size of the traces that are decoded to count matches. Without an operation or a tag in the query, no trace is
/// decoded and all matches are counted.
const MAX_DECODED_BYTES: usize = 32 << 20;

/// Order of the traces of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum SortOrder {
    /// The latest arrivals first.
    #[default]
    Latest,
    /// The longest traces first.
    Longest,
}

/// Position of a trace in an order. Greater positions come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// 0 in the order of arrival.
    duration_ns: u64,
    /// Number in the order of arrival.
    sequence: u64,
}

/// The text is not the position of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position in the results: start from the first page")]
pub(crate) struct ParsePositionError;

/// One page of the matches.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ResultPage {
    /// The traces of the page in order, up to the limit of the query.
    pub(crate) traces: Vec<TraceId>,
    /// Number of matches on the pages before.
    pub(crate) before: u64,
    /// Number of all matches.
    pub(crate) total: u64,
    /// Whether all matches were counted; if not, `before` and `total` are minimums, and the longest traces are those of the
    /// latest `total` matches.
    pub(crate) is_counted: bool,
    /// Position after which the next page begins; `None` on the last page.
    pub(crate) next: Option<Position>,
}

/// A trace that matches unless its spans, which are copied for that, show otherwise.
struct Candidate {
    id: TraceId,
    position: Position,
    spans: Option<Box<Entry>>,
}

impl Store {
    /// Returns the page of the matches that begins after `after`.
    pub(crate) fn result_page(&self, query: &Query, order: SortOrder, after: Option<Position>) -> ResultPage {
        let wanted = query.terms();
        let mut page = PageBuilder { after, limit: query.limit, found: Vec::new(), before: 0, total: 0 };
        let (mut until, mut decoded) = (u64::MAX, 0);
        while until > 0 {
            if decoded > MAX_DECODED_BYTES {
                if order == SortOrder::Longest || page.is_full() {
                    break;
                }
                // Without counting, the page begins at the position itself.
                until = after.map_or(until, |after| until.min(after.sequence));
            }
            let (candidates, copied, rest) = self.lock().slice(query, &wanted, order, until);
            (until, decoded) = (rest, decoded + copied);
            for Candidate { id, position, spans } in candidates {
                if spans.is_none_or(|entry| is_match(query, id, &entry)) {
                    page.add(position, id);
                }
            }
        }
        page.finish(until == 0)
    }
}

impl Inner {
    /// Returns candidates that arrived before `until`, the size of their copied spans, and the sequence number to continue
    /// before; 0 at the end.
    fn slice(
        &self,
        query: &Query,
        wanted: &[Vec<u64>],
        order: SortOrder,
        until: u64,
    ) -> (Vec<Candidate>, usize, u64) {
        let (mut candidates, mut copied) = (Vec::new(), 0);
        let is_decided = query.is_decided_by_records();
        let rest = self.visit_candidates(query, wanted, until, |id, entry| {
            let duration_ns = if order == SortOrder::Longest { entry.duration_ns() } else { 0 };
            let spans = (!is_decided).then(|| entry.clone());
            copied += if is_decided { 0 } else { entry.bytes() };
            candidates.push(Candidate {
                id,
                position: Position { duration_ns, sequence: entry.sequence },
                spans,
            });
            copied <= MAX_COPIED_BYTES
        });
        (candidates, copied, rest)
    }
}

struct PageBuilder {
    after: Option<Position>,
    limit: usize,
    /// The first matches after `after`: of the latest, one more than the limit; of the longest, up to twice as many.
    found: Vec<(Position, TraceId)>,
    before: u64,
    total: u64,
}

impl PageBuilder {
    fn add(&mut self, position: Position, id: TraceId) {
        self.total += 1;
        if self.after.is_some_and(|after| position >= after) {
            self.before += 1;
            return;
        }
        self.found.push((position, id));
        if self.found.len() > 2 * (self.limit + 1) {
            self.keep_first();
        }
    }

    /// Returns whether there are more matches than the page holds.
    fn is_full(&self) -> bool {
        self.found.len() > self.limit
    }

    fn keep_first(&mut self) {
        self.found.sort_unstable_by_key(|(position, _)| Reverse(*position));
        self.found.truncate(self.limit + 1);
    }

    fn finish(mut self, is_counted: bool) -> ResultPage {
        self.keep_first();
        let has_next = self.is_full();
        self.found.truncate(self.limit);
        ResultPage {
            next: self.found.last().map(|(position, _)| *position).filter(|_| has_next),
            traces: self.found.into_iter().map(|(_, id)| id).collect(),
            before: self.before,
            total: self.total,
            is_counted,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.duration_ns, self.sequence)
    }
}

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (duration_ns, sequence) = text.split_once('-').ok_or(ParsePositionError)?;
        let number = |text: &str| text.parse().map_err(|_| ParsePositionError);
        Ok(Self { duration_ns: number(duration_ns)?, sequence: number(sequence)? })
    }
}

#[cfg(test)]
mod tests;
