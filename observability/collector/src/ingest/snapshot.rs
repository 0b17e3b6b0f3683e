//! The state of a collector in two files: histograms and statistics as JSON, and the stored traces as lines of OTLP
//! JSON. A collector restored from them gives the same answers, except for the last hour of each operation, which is
//! not saved. The traces are written first; spans that arrive meanwhile are only in the histograms.

use std::io::{self, BufRead};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::exporter_losses::{ExporterLosses, LossesSnapshot};
use super::{Ingest, message};
use crate::latency::{self, Latencies};
use crate::otlp;
use crate::store::{Store, StoreSnapshot};

/// Version of the JSON file. In version 1, evicted traces lack their completeness; later versions are rejected.
const SCHEMA: u32 = 2;

/// Lower bound of the maximum length of a line, which is read into memory. A line is a trace, which takes at most a sixteenth
/// of the memory limit in its encoded form.
const MIN_MAX_LINE: usize = 16 << 20;

/// U+FEFF in UTF-8, which some programs write at the start of a file.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The state apart from the traces.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct IngestSnapshot {
    schema: u32,
    max_bytes: usize,
    latencies: latency::LatencySnapshot,
    losses: LossesSnapshot,
    #[serde(rename = "past")]
    store: StoreSnapshot,
}

/// An error while restoring the state from its two files.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file is truncated or cannot be read.
    #[error("cannot read the file to its end")]
    Read(#[from] io::Error),
    /// The JSON does not describe a collector's state.
    #[error("not the state of a collector")]
    Json(#[from] serde_json::Error),
    /// A different version wrote the file.
    #[error("schema {0} is not supported; this version reads schemas 1 to {SCHEMA}")]
    Schema(u32),
    /// A part of the state is damaged.
    #[error("damaged state: {0}")]
    Damaged(String),
    /// A line is not a trace.
    #[error("line {number} is not a trace in OTLP JSON: {why}")]
    Line {
        /// Line number, counted from 1.
        number: usize,
        /// The cause.
        why: String,
    },
    /// The collector that wrote the files had a larger memory limit.
    #[error(
        "the collector of this run kept up to {max_bytes} bytes, more than the limit of {limit}: raise it with \
         COLLECTOR_STORE_MAX_BYTES"
    )]
    Limit {
        /// Memory limit of the collector that wrote the files.
        max_bytes: usize,
        /// Memory limit of this one.
        limit: usize,
    },
    /// The traces exceed the memory limit of the collector that wrote them.
    #[error(
        "traces exceed the memory limit of the collector that wrote them: the files are incomplete or do not belong together"
    )]
    Full,
}

impl Ingest {
    /// Returns the state apart from the traces.
    pub(crate) fn snapshot(&self) -> IngestSnapshot {
        let overflow = self.latencies().overflow();
        IngestSnapshot {
            schema: SCHEMA,
            max_bytes: self.max_bytes,
            latencies: latency::LatencySnapshot::of(self.series(), overflow),
            losses: self.losses().snapshot(),
            store: self.store.snapshot(),
        }
    }

    /// Restores a state that keeps at most `limit` bytes. The sizes that it states are not trusted.
    pub(crate) fn open(snapshot: &[u8], traces: impl BufRead, limit: usize) -> Result<Self, OpenError> {
        // Checked first, since the rest depends on the schema.
        #[derive(Deserialize)]
        struct Schema {
            schema: u32,
        }
        let Schema { schema } = serde_json::from_slice(snapshot)?;
        if !(1..=SCHEMA).contains(&schema) {
            return Err(OpenError::Schema(schema));
        }
        let mut snapshot: IngestSnapshot = serde_json::from_slice(snapshot)?;
        if schema == 1 {
            snapshot.losses.upgrade();
            snapshot.store.upgrade();
        }
        let IngestSnapshot { max_bytes, latencies, losses, store, .. } = snapshot;
        if max_bytes > limit {
            return Err(OpenError::Limit { max_bytes, limit });
        }
        let (latencies, exemplars) = Latencies::restore(latencies, max_bytes)
            .map_err(|error| OpenError::Damaged(error.to_string()))?;
        let opened = Self {
            latencies: Mutex::new(latencies),
            losses: Mutex::new(ExporterLosses::restore(losses).ok_or_else(damaged_ids)?),
            store: Store::for_restore(max_bytes, &store),
            ..Self::new(max_bytes, None)
        };
        load(&opened.store, traces, max_bytes)?;
        let ids = exemplars.iter().map(|change| change.trace_id);
        let absent: Vec<_> = ids.filter(|id| opened.store.bytes_of(*id) == 0).collect();
        opened.latencies().remove_exemplars_of(&absent);
        if opened.store.evict_to_fit(&exemplars, max_bytes) || opened.store.stats().evicted_spans > 0 {
            return Err(OpenError::Full);
        }
        if opened.store.restore(&store) { Ok(opened) } else { Err(damaged_ids()) }
    }
}

fn damaged_ids() -> OpenError {
    OpenError::Damaged("a table of trace ids does not decode".to_owned())
}

fn load(store: &Store, mut traces: impl BufRead, max_bytes: usize) -> Result<(), OpenError> {
    let max_line = max_bytes.max(MIN_MAX_LINE) as u64;
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if io::Read::take(&mut traces, max_line).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if number == 1 && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        let invalid = |why: &dyn std::fmt::Display| OpenError::Line { number, why: why.to_string() };
        let (message, _) = otlp::json_to_protobuf(&line).map_err(|error| invalid(&error))?;
        let read = message::read(&message, |batch| drop(store.insert(batch)));
        if let Some((_, why)) = read.map_err(|error| invalid(&error))?.rejected {
            return Err(invalid(&why));
        }
        // Only after the last line does eviction know which traces are exemplars.
        if store.stats().bytes > max_bytes {
            return Err(OpenError::Full);
        }
    }
    Ok(())
}
