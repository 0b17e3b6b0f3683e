//! A file of traces, which can be read more than once: checked as a whole, and then sent.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _};

use anyhow::Context as _;
use flate2::bufread::MultiGzDecoder;

const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What is not a file that stays, such as stdin or a pipe, is copied into one first, however long it is.
pub(super) struct Input {
    pub(super) name: String,
    file: File,
}

impl Input {
    /// `-` is stdin.
    pub(super) fn open(name: &str) -> anyhow::Result<Self> {
        let file = if name == "-" { spooled(io::stdin().lock()) } else { open(name) };
        Ok(Self { name: name.to_owned(), file: file.with_context(|| format!("cannot read {name}"))? })
    }

    /// Its text from the start, unpacked if its first bytes say that it is packed.
    pub(super) fn text(&self) -> io::Result<Box<dyn BufRead + '_>> {
        let mut file = &self.file;
        file.rewind()?;
        let mut file = BufReader::new(file);
        let start = file.fill_buf()?;
        Ok(if start.starts_with(&ZSTD) {
            Box::new(BufReader::new(zstd::Decoder::with_buffer(file)?))
        } else if start.starts_with(&GZIP) {
            Box::new(BufReader::new(MultiGzDecoder::new(file)))
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
