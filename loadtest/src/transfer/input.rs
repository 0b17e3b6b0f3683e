//! A file of traces that can be read twice: to check it and to send it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _};

use anyhow::Context as _;
use flate2::bufread::MultiGzDecoder;

use crate::bounded_input::Bounded;

const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Stdin and pipes are copied to a temporary file first.
pub(super) struct Input {
    pub(super) name: String,
    file: File,
}

impl Input {
    /// Opens a file; `-` is stdin.
    pub(super) fn open(name: &str) -> anyhow::Result<Self> {
        let file = if name == "-" { spooled(io::stdin().lock()) } else { open(name) };
        Ok(Self { name: name.to_owned(), file: file.with_context(|| format!("cannot read {name}"))? })
    }

    /// Returns the content from the start, decompressed if the first bytes are those of zstd or gzip. Decompression fails
    /// after `max_unpacked` bytes.
    pub(super) fn text(&self, max_unpacked: u64) -> io::Result<Box<dyn BufRead + '_>> {
        let mut file = &self.file;
        file.rewind()?;
        let mut file = BufReader::new(file);
        let start = file.fill_buf()?;
        Ok(if start.starts_with(&ZSTD) {
            Box::new(BufReader::new(Bounded::new(zstd::Decoder::with_buffer(file)?, max_unpacked)))
        } else if start.starts_with(&GZIP) {
            Box::new(BufReader::new(Bounded::new(MultiGzDecoder::new(file), max_unpacked)))
        } else {
            Box::new(file)
        })
    }
}

fn open(name: &str) -> io::Result<File> {
    let file = File::open(name)?;
    let kind = file.metadata()?;
    if kind.is_file() { Ok(file) } else { spooled(file) }
}

fn spooled(mut from: impl Read) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(&mut from, &mut file)?;
    Ok(file)
}
