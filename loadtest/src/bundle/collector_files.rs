//! What the collector had at the run's end: its traces, and what it knew beside them. `serve collector --open` shows it.

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

/// OTLP JSON, a line for each trace, the first seen first: the format of the OpenTelemetry collector's file exporter.
const TRACES: &str = "traces.jsonl.zst";
/// Histograms, exemplars, what left and why, reported losses; and which traces belong to them.
const STATE: &str = "collector.json.zst";
const COMPRESSION: i32 = 3;

/// What [`STATE`] holds.
#[derive(Serialize, Deserialize)]
struct State<'a> {
    traces: Digest,
    #[serde(borrow)]
    collector: &'a RawValue,
}

/// Tells the traces of a run from those of another, and from some of them.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Digest {
    /// Modulo 2³².
    bytes: u32,
    crc32: u32,
}

impl Digest {
    fn of(crc: &Crc) -> Self {
        Self { bytes: crc.amount(), crc32: crc.sum() }
    }
}

/// Both files, packed.
#[derive(Default)]
pub(crate) struct CollectorArchive {
    traces: Vec<u8>,
    state: Vec<u8>,
}

impl CollectorArchive {
    /// Asks for everything. A collector that does not answer leaves files without anything in them.
    pub(crate) async fn fetch(collector: &CollectorClient) -> anyhow::Result<Self> {
        let (mut packed, mut crc) = (packer()?, Crc::new());
        let mut traces = collector.all_traces().await?;
        while let Some(some) = traces.chunk().await? {
            packed.write_all(&some)?;
            crc.update(&some);
        }
        // After the traces: one that leaves meanwhile is in both, and opened again it is there.
        let state = collector.state().await?;
        let state = State { traces: Digest::of(&crc), collector: serde_json::from_slice(&state)? };
        Ok(Self { traces: packed.finish()?, state: pack(&serde_json::to_vec(&state)?)? })
    }

    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        for (name, packed) in [(TRACES, &self.traces), (STATE, &self.state)] {
            fs::write(folder.join(name), packed).with_context(|| name.to_owned())?;
        }
        Ok(())
    }
}

/// One trace of a bundle, if it is there.
pub(super) fn one(folder: &Path, id: TraceId) -> Option<Trace> {
    let lines = zstd::decode_all(File::open(folder.join(TRACES)).ok()?).ok()?;
    let text = String::from_utf8_lossy(&lines);
    // Most lines need not be read.
    let id_text = id.to_string();
    let mut traces = text.lines().filter(|line| line.contains(&id_text)).map(otlp::from_json_line);
    traces.find_map(|trace| trace.ok().filter(|trace| trace.id() == Some(id)))
}

/// Opens what a bundle has of its collector.
pub(crate) fn open(folder: &Path) -> anyhow::Result<Snapshot> {
    let file = |name: &str| {
        let path = folder.join(name);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        zstd::Decoder::new(file).with_context(|| format!("{} is not zstd", path.display()))
    };
    let mut state = Vec::new();
    file(STATE)?
        .read_to_end(&mut state)
        .with_context(|| format!("{} is cut off or damaged", folder.join(STATE).display()))?;
    let state: State<'_> = serde_json::from_slice(&state)
        .with_context(|| format!("{} is not what a run wrote", folder.join(STATE).display()))?;
    let mut traces = CrcReader::new(BufReader::new(file(TRACES)?));
    let opened = Snapshot::read(state.collector.get().as_bytes(), &mut traces).map_err(|error| {
        let name = match error {
            OpenError::Read(_) | OpenError::Line { .. } | OpenError::Full => TRACES,
            OpenError::Json(_) | OpenError::Schema(_) | OpenError::Damaged(_) => STATE,
        };
        anyhow::Error::new(error).context(format!("cannot open {}", folder.join(name).display()))
    })?;
    ensure!(
        Digest::of(traces.crc()) == state.traces,
        "{} is not what this run wrote: it was cut short, or is another run's",
        folder.join(TRACES).display()
    );
    Ok(opened)
}

fn packer() -> std::io::Result<zstd::Encoder<'static, Vec<u8>>> {
    let mut packer = zstd::Encoder::new(Vec::new(), COMPRESSION)?;
    // A file that was damaged on its way is told from one that is whole.
    packer.include_checksum(true)?;
    Ok(packer)
}

fn pack(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut packer = packer()?;
    packer.write_all(bytes)?;
    packer.finish()
}
