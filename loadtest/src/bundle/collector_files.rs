//! The collector's traces and state at the end of a run, which `serve collector --open` shows.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use collector::otlp;
use collector::trace::{Trace, TraceId};
use collector::{BYTE_ORDER_MARK, OpenError, Snapshot};
use flate2::{Crc, CrcReader};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::bounded_input::Bounded;
use crate::collector_client::CollectorClient;

/// One line of OTLP JSON for each trace, oldest first: the format of the OpenTelemetry collector's file exporter.
const TRACES: &str = "traces.jsonl.zst";
/// Histograms, exemplars, evictions and reported losses, with a digest of the traces they belong to.
const STATE: &str = "collector.json.zst";
const COMPRESSION: i32 = 3;

/// Maximum size of the unpacked traces that a report reads through, and of one trace in them.
const MAX_TRACES: u64 = 8 << 30;
const MAX_LINE: u64 = 256 << 20;

/// Maximum size of the unpacked state of an empty collector. Histograms and ids of evicted traces are part of the memory limit of the
/// collector that wrote it.
const MAX_STATE: u64 = 64 << 20;

/// Maximum length of the traces as JSON, as a multiple of the collector's memory limit, and its lower bound.
const MAX_JSON_FACTOR: u64 = 16;
const MIN_MAX_TRACES: u64 = 64 << 20;

/// The content of [`STATE`].
#[derive(Serialize, Deserialize)]
struct ArchivedState<'a> {
    traces: Digest,
    #[serde(borrow)]
    collector: &'a RawValue,
}

/// Length and checksum of the traces, to detect traces of another run or truncated ones.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Digest {
    /// Length modulo 2³².
    bytes: u32,
    crc32: u32,
}

impl Digest {
    fn of(crc: &Crc) -> Self {
        Self { bytes: crc.amount(), crc32: crc.sum() }
    }
}

/// The compressed content of both files.
#[derive(Default)]
pub(crate) struct CollectorArchive {
    traces: Vec<u8>,
    state: Vec<u8>,
}

impl CollectorArchive {
    /// Fetches traces and state from the collector.
    pub(crate) async fn fetch(collector: &CollectorClient) -> anyhow::Result<Self> {
        let (mut compressed, mut crc) = (encoder()?, Crc::new());
        let mut traces = collector.all_traces().await?;
        while let Some(some) = traces.chunk().await? {
            compressed.write_all(&some)?;
            crc.update(&some);
        }
        // Fetched after the traces, so that a trace evicted meanwhile is still among the traces.
        let state = collector.state().await?;
        let state = ArchivedState { traces: Digest::of(&crc), collector: serde_json::from_slice(&state)? };
        Ok(Self { traces: compressed.finish()?, state: compress(&serde_json::to_vec(&state)?)? })
    }

    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        for (name, compressed) in [(TRACES, &self.traces), (STATE, &self.state)] {
            fs::write(folder.join(name), compressed).with_context(|| name.to_owned())?;
        }
        Ok(())
    }
}

/// Returns one trace of a bundle; `None` if it is not present or the file is damaged. Fails if the file unpacks to more than
/// [`MAX_TRACES`].
pub(super) fn read_trace(folder: &Path, id: TraceId) -> anyhow::Result<Option<Trace>> {
    let path = folder.join(TRACES);
    let Ok(traces) = File::open(&path).and_then(zstd::Decoder::new) else { return Ok(None) };
    let mut traces = BufReader::new(Bounded::new(traces, MAX_TRACES));
    let id_text = id.to_string();
    let mut line = Vec::new();
    loop {
        line.clear();
        match traces.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::FileTooLarge => {
                return Err(error).with_context(|| format!("{} unpacks to", path.display()));
            }
            Err(_) => return Ok(None),
        }
        // Parses only lines that contain the id.
        let text = std::str::from_utf8(&line).unwrap_or_default();
        if text.contains(&id_text)
            && let Ok(trace) = otlp::from_json_line(text.trim_start_matches('\u{feff}'))
            && trace.id() == Some(id)
        {
            return Ok(Some(trace));
        }
    }
}

/// Opens the collector's traces and state of a bundle. Fails if that collector kept more than `max_bytes`.
pub(crate) fn open(folder: &Path, max_bytes: usize) -> anyhow::Result<Snapshot> {
    let file = |name: &str, max| {
        let path = folder.join(name);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let file = zstd::Decoder::new(file).with_context(|| format!("{} is not zstd", path.display()))?;
        anyhow::Ok(Bounded::new(file, max))
    };
    let mut state = Vec::new();
    let max_state = MAX_STATE.saturating_add(max_bytes as u64);
    file(STATE, max_state)?
        .read_to_end(&mut state)
        .map_err(|error| unreadable(error, &folder.join(STATE)))?;
    let text = state.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&state);
    let state: ArchivedState<'_> = serde_json::from_slice(text)
        .with_context(|| format!("{} was not written by a run", folder.join(STATE).display()))?;
    let max_traces = (max_bytes as u64).saturating_mul(MAX_JSON_FACTOR).max(MIN_MAX_TRACES);
    let mut traces = CrcReader::new(BufReader::new(file(TRACES, max_traces)?));
    let snapshot = Snapshot::read(state.collector.get().as_bytes(), &mut traces, max_bytes);
    let snapshot = snapshot.map_err(|error| {
        let name = match error {
            OpenError::Read(error) if error.kind() == ErrorKind::FileTooLarge => {
                return unreadable(error, &folder.join(TRACES));
            }
            OpenError::Read(_) | OpenError::Line { .. } | OpenError::Full => TRACES,
            OpenError::Json(_) | OpenError::Schema(_) | OpenError::Damaged(_) | OpenError::Limit { .. } => {
                STATE
            }
        };
        anyhow::Error::new(error).context(format!("cannot open {}", folder.join(name).display()))
    })?;
    ensure!(
        Digest::of(traces.crc()) == state.traces,
        "{} does not belong to this run: it is truncated or from another run",
        folder.join(TRACES).display()
    );
    Ok(snapshot)
}

fn unreadable(error: io::Error, path: &Path) -> anyhow::Error {
    let what = if error.kind() == ErrorKind::FileTooLarge {
        format!("{} unpacks to more than COLLECTOR_STORE_MAX_BYTES allows", path.display())
    } else {
        format!("{} is truncated or damaged", path.display())
    };
    anyhow::Error::new(error).context(what)
}

fn encoder() -> std::io::Result<zstd::Encoder<'static, Vec<u8>>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), COMPRESSION)?;
    // The checksum detects files that were damaged in transit.
    encoder.include_checksum(true)?;
    Ok(encoder)
}

fn compress(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = encoder()?;
    encoder.write_all(bytes)?;
    encoder.finish()
}
