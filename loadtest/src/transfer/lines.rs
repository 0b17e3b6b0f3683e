//! Splits a text that arrives in chunks into lines.

/// The start of a line whose end has not arrived.
#[derive(Default)]
pub(super) struct LineSplitter(Vec<u8>);

impl LineSplitter {
    /// Passes each line that `piece` completes to `each`, without its line feed.
    pub(super) fn push<E>(
        &mut self,
        piece: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, others) = rest.split_at(end);
            rest = &others[1..];
            if self.0.is_empty() {
                each(line)?;
            } else {
                self.0.extend_from_slice(line);
                each(&self.0)?;
                self.0.clear();
            }
        }
        self.0.extend_from_slice(rest);
        Ok(())
    }

    /// Returns whether the last line is complete.
    pub(super) fn is_complete(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn splits_lines_independently_of_the_pieces() {
        let text = b"one\n\nthree\nfo";
        for size in 1..=text.len() {
            let (mut lines, mut found) = (LineSplitter::default(), Vec::new());
            for piece in text.chunks(size) {
                let pushed: Result<(), Infallible> = lines.push(piece, |line| {
                    found.push(String::from_utf8_lossy(line).into_owned());
                    Ok(())
                });
                pushed.unwrap();
            }
            assert_eq!(found, ["one", "", "three"], "{size}");
            assert!(!lines.is_complete());
        }
    }
}
