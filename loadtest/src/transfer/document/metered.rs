//! Bounds the memory of one part of a document: parsed JSON may take 100 times its length.

use std::cell::Cell;
use std::io::{self, BufRead, Read};

use indicatif::BinaryBytes;

/// Approximate memory of an object beside its texts. The largest one, a span, takes about 300 bytes.
const OBJECT_BYTES: u64 = 300;

/// Maximum memory of one part. A trace of a collector with the default settings takes up to 24 MiB.
const MAX_PART: u64 = 1 << 30;

/// A part takes too much memory.
#[derive(Debug, thiserror::Error)]
#[error("one trace or resource takes more than {} of memory", BinaryBytes(MAX_PART))]
pub(in super::super) struct PartTooLarge;

/// The memory of the current part.
pub(super) struct Meter {
    used: Cell<u64>,
    max: u64,
}

impl Default for Meter {
    fn default() -> Self {
        Self { used: Cell::new(0), max: MAX_PART }
    }
}

impl Meter {
    /// Returns a reader that counts what is read, and fails when a part is too large.
    pub(super) fn reader<R: BufRead>(&self, inner: R) -> impl Read {
        // serde_json reads one byte at a time, so that none of the next part is counted.
        Metered { meter: self, inner }
    }

    /// Begins the next part.
    pub(super) fn reset(&self) {
        self.used.set(0);
    }
}

struct Metered<'m, R> {
    meter: &'m Meter,
    inner: R,
}

impl<R: BufRead> Read for Metered<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        let objects = into[..read].iter().filter(|byte| **byte == b'{').count() as u64;
        let used = self.meter.used.get() + read as u64 + objects * OBJECT_BYTES;
        self.meter.used.set(used);
        if used > self.meter.max { Err(io::Error::other(PartTooLarge)) } else { Ok(read) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_a_part_but_not_the_sum_of_all_parts() {
        let meter = Meter { used: Cell::new(0), max: 700 };
        let mut reader = meter.reader(&b"{}{}{}{}"[..]);
        let mut part = || reader.read_exact(&mut [0; 2]).map_err(|error| error.to_string());
        for _ in 0..3 {
            assert_eq!(part(), Ok(()));
            meter.reset();
        }
        meter.used.set(600);
        assert!(part().unwrap_err().contains("one trace or resource takes more than"));
    }
}
