//! What the collector had at the run's end: its traces, and what it knew beside them. `serve collector --open` shows it.

use std::fs::{self, File};
use std::io::{BufReader, Read as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use observability::collector::Opened;
use observability::otlp;
use observability::span::{Trace, TraceId};

use super::collector::Collector;

/// OTLP JSON, a line for each trace, the first seen first: the format of the OpenTelemetry collector's file exporter.
const TRACES: &str = "traces.jsonl.zst";
/// Histograms, exemplars, what left and why, reported losses.
const STATE: &str = "collector.json.zst";
const COMPRESSION: i32 = 3;

/// Both files, packed.
#[derive(Default)]
pub(super) struct Kept {
    traces: Vec<u8>,
    state: Vec<u8>,
}

impl Kept {
    /// Asks for everything. A collector that does not answer leaves files without anything in them.
    pub(super) async fn fetch(collector: &Collector) -> anyhow::Result<Self> {
        let state = pack(&collector.state().await?)?;
        let mut packed = packer()?;
        let mut traces = collector.all_traces().await?;
        while let Some(some) = traces.chunk().await? {
            packed.write_all(&some)?;
        }
        Ok(Self { traces: packed.finish()?, state })
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
pub(crate) fn open(folder: &Path) -> anyhow::Result<Opened> {
    let file = |name: &str| {
        let path = folder.join(name);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        zstd::Decoder::new(file).with_context(|| format!("{} is not zstd", path.display()))
    };
    let mut state = Vec::new();
    file(STATE)?
        .read_to_end(&mut state)
        .with_context(|| format!("{} is cut off or damaged", folder.join(STATE).display()))?;
    Opened::read(&state, BufReader::new(file(TRACES)?))
        .with_context(|| format!("cannot open the run {}", folder.display()))
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
