//! Reading of files whose content is not trusted: a small file can unpack to gigabytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use collector::BYTE_ORDER_MARK;
use indicatif::BinaryBytes;

/// The content is longer than the limit.
#[derive(Debug, thiserror::Error)]
#[error("more than {}", BinaryBytes(*max))]
pub(crate) struct TooLong {
    /// The limit in bytes.
    pub(crate) max: u64,
}

/// Passes on up to a number of bytes, and fails with [`TooLong`] if there are more.
pub(crate) struct Bounded<R> {
    inner: R,
    max: u64,
    left: u64,
}

impl<R: Read> Bounded<R> {
    /// Limits `inner` to `max` bytes.
    pub(crate) fn new(inner: R, max: u64) -> Self {
        Self { inner, max, left: max }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !into.is_empty() {
            return match self.inner.read(&mut [0])? {
                0 => Ok(0),
                _ => Err(io::Error::new(io::ErrorKind::FileTooLarge, TooLong { max: self.max })),
            };
        }
        let space = usize::try_from(self.left).map_or(into.len(), |left| left.min(into.len()));
        let read = self.inner.read(&mut into[..space])?;
        self.left -= read as u64;
        Ok(read)
    }
}

/// Reads a text file of up to `max` bytes, without its byte-order mark.
pub(crate) fn read_text(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    Bounded::new(File::open(path)?, max).read_to_end(&mut text)?;
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_on_everything_up_to_the_limit_and_fails_beyond() {
        for max in 0..=12 {
            let mut read = Vec::new();
            let result = Bounded::new(&b"0123456789"[..], max).read_to_end(&mut read);
            assert_eq!(read, b"0123456789"[..10.min(max as usize)]);
            match result {
                Ok(_) => assert!(max >= 10),
                Err(error) => {
                    let expected = format!("more than {max} B");
                    assert!(max < 10 && error.to_string() == expected, "{error}");
                }
            }
        }
    }

    #[test]
    fn drops_a_byte_order_mark() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, b"\xef\xbb\xbf{}").unwrap();
        assert_eq!(read_text(&path, 100).unwrap(), b"{}");
        assert_eq!(read_text(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
