//! The collector's traces and state at the end of a run, which `serve collector --open` shows.

use std::fs::{self, File};
use std::io::{BufReader, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use collector::otlp;
use collector::trace::{Trace, TraceId};
use collector::{OpenError, Snapshot};
use flate2::{Crc, CrcReader};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::collector_client::CollectorClient;

/// One line of OTLP JSON for each trace, oldest first: the format of the OpenTelemetry collector's file exporter.
const TRACES: &str = "traces.jsonl.zst";
/// Histograms, exemplars, evictions and reported losses, with a digest of the traces they belong to.
const STATE: &str = "collector.json.zst";
const COMPRESSION: i32 = 3;

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

/// Returns one trace of a bundle, if present.
pub(super) fn read_trace(folder: &Path, id: TraceId) -> Option<Trace> {
    let lines = zstd::decode_all(File::open(folder.join(TRACES)).ok()?).ok()?;
    let text = String::from_utf8_lossy(&lines);
    // Parses only lines that contain the id.
    let id_text = id.to_string();
    let mut traces = text.lines().filter(|line| line.contains(&id_text)).map(otlp::from_json_line);
    traces.find_map(|trace| trace.ok().filter(|trace| trace.id() == Some(id)))
}

/// Opens the collector's traces and state of a bundle.
pub(crate) fn open(folder: &Path) -> anyhow::Result<Snapshot> {
    let file = |name: &str| {
        let path = folder.join(name);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        zstd::Decoder::new(file).with_context(|| format!("{} is not zstd", path.display()))
    };
    let mut state = Vec::new();
    file(STATE)?
        .read_to_end(&mut state)
        .with_context(|| format!("{} is truncated or damaged", folder.join(STATE).display()))?;
    let state: ArchivedState<'_> = serde_json::from_slice(&state)
        .with_context(|| format!("{} was not written by a run", folder.join(STATE).display()))?;
    let mut traces = CrcReader::new(BufReader::new(file(TRACES)?));
    let snapshot = Snapshot::read(state.collector.get().as_bytes(), &mut traces).map_err(|error| {
        let name = match error {
            OpenError::Read(_) | OpenError::Line { .. } | OpenError::Full => TRACES,
            OpenError::Json(_) | OpenError::Schema(_) | OpenError::Damaged(_) => STATE,
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
