//! A collector as it was, in two files: what it knew, as JSON, and the traces that it kept, as lines of OTLP JSON. Opened
//! again it answers as it did then, but for what each operation did in the last hour: that is not kept. The traces are
//! written before the rest; of what came meanwhile, only the histograms know.

use std::io::{self, BufRead};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::{Ingest, loss, read};
use crate::latency::{self, Latencies};
use crate::otlp;
use crate::store::{SpanBatch, Store, StoreSnapshot};

/// Of the file that says what it knew; another one is not read.
const SCHEMA: u32 = 1;

/// A line is held whole, so longer ones are refused.
const LONGEST_LINE: u64 = 1 << 30;

/// What a collector knew beside its traces.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Knowledge {
    schema: u32,
    max_bytes: usize,
    latencies: latency::LatencySnapshot,
    losses: loss::State,
    past: StoreSnapshot,
}

/// Why two files cannot be opened as a collector.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// They break off, or cannot be read.
    #[error("it cannot be read to its end")]
    Read(#[from] io::Error),
    /// The JSON is not a collector's.
    #[error("it is not what a collector wrote")]
    Knowledge(#[from] serde_json::Error),
    /// Another build wrote it.
    #[error("it has schema {0}, this build reads {SCHEMA}")]
    Schema(u32),
    /// A part of it is damaged.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// A line is no trace.
    #[error("line {number} is no trace of OTLP JSON: {why}")]
    Line {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        why: String,
    },
    /// It takes more room than it did.
    #[error("its traces do not fit where they did: it is not whole, or not of one piece")]
    Full,
}

impl Ingest {
    pub(crate) fn knowledge(&self) -> Knowledge {
        let overflow = self.latencies().overflow();
        Knowledge {
            schema: SCHEMA,
            max_bytes: self.max_bytes,
            latencies: latency::LatencySnapshot::of(self.series(), overflow),
            losses: self.losses().state(),
            past: self.store.snapshot(),
        }
    }

    /// The collector as it was.
    pub(crate) fn open(knowledge: &[u8], traces: impl BufRead) -> Result<Self, OpenError> {
        // First: another schema may hold anything.
        #[derive(Deserialize)]
        struct Schema {
            schema: u32,
        }
        let Schema { schema } = serde_json::from_slice(knowledge)?;
        if schema != SCHEMA {
            return Err(OpenError::Schema(schema));
        }
        let Knowledge { max_bytes, latencies, losses, past, .. } = serde_json::from_slice(knowledge)?;
        let (latencies, telling) =
            Latencies::restore(latencies).map_err(|error| OpenError::Damaged(error.to_string()))?;
        let opened = Self {
            latencies: Mutex::new(latencies),
            losses: Mutex::new(super::Losses::restore(losses).ok_or_else(damaged)?),
            store: Store::for_restore(max_bytes, &past),
            ..Self::new(max_bytes, None)
        };
        load(&opened.store, traces)?;
        let told = telling.iter().map(|change| change.trace_id);
        let absent: Vec<_> = told.filter(|id| opened.store.bytes_of(*id) == 0).collect();
        opened.latencies().forget(&absent);
        if opened.store.evict_to_fit(&telling, max_bytes) || opened.store.stats().evicted_spans > 0 {
            return Err(OpenError::Full);
        }
        if opened.store.restore(&past) { Ok(opened) } else { Err(damaged()) }
    }
}

fn damaged() -> OpenError {
    OpenError::Damaged("the traces that left cannot be told".to_owned())
}

fn load(store: &Store, mut traces: impl BufRead) -> Result<(), OpenError> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if io::Read::take(&mut traces, LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let refused = |why: &dyn std::fmt::Display| OpenError::Line { number, why: why.to_string() };
        let message = otlp::json_to_protobuf(&line).map_err(|error| refused(&error))?;
        let read = read::read(&message, SpanBatch::for_restore(), |batch| drop(store.insert(batch)));
        if let Some((_, why)) = read.map_err(|error| refused(&error))?.rejected {
            return Err(refused(&why));
        }
    }
    Ok(())
}
