//! Repairs JSON whose strings are not Unicode, before it is parsed: invalid UTF-8 and escapes of half a surrogate pair become
//! U+FFFD. JSON parsers refuse the whole document for one such string. Programs produce it when they cut a longer string.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};

/// Escape that replaces half a surrogate pair; it has the same length.
const REPLACEMENT_ESCAPE: &[u8] = br"\ufffd";

const HIGH_SURROGATES: std::ops::Range<u16> = 0xd800..0xdc00;
const LOW_SURROGATES: std::ops::Range<u16> = 0xdc00..0xe000;

/// Returns the repaired document and the number of strings that were repaired.
pub(crate) fn repaired_json(json: &[u8]) -> (Cow<'_, str>, u64) {
    let valid = std::str::from_utf8(json);
    if let Ok(text) = valid
        && !text.contains(r"\ud")
        && !text.contains(r"\uD")
    {
        return (Cow::Borrowed(text), 0);
    }
    let (mut repair, mut out) = (TextRepair::default(), Vec::with_capacity(json.len()));
    repair.push(json, true, &mut out);
    match valid {
        Ok(text) if repair.strings == 0 => (Cow::Borrowed(text), 0),
        _ => {
            let text = String::from_utf8(out)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
            (Cow::Owned(text), repair.strings)
        }
    }
}

/// A reader of JSON that repairs it piece by piece.
#[derive(Debug)]
pub struct RepairedJson<R> {
    source: R,
    repair: TextRepair,
    /// Bytes at the end of the last piece that the next one may continue.
    incomplete: Vec<u8>,
    repaired: Vec<u8>,
    /// Number of repaired bytes that were read.
    consumed: usize,
}

impl<R> RepairedJson<R> {
    /// Wraps a reader.
    pub fn new(source: R) -> Self {
        let (incomplete, repaired) = (Vec::new(), Vec::new());
        Self { source, repair: TextRepair::default(), incomplete, repaired, consumed: 0 }
    }
}

impl<R: BufRead> BufRead for RepairedJson<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.consumed == self.repaired.len() {
            let piece = self.source.fill_buf()?;
            let (length, is_last) = (piece.len(), piece.is_empty());
            self.incomplete.extend_from_slice(piece);
            self.source.consume(length);
            self.repaired.clear();
            self.consumed = 0;
            let used = self.repair.push(&self.incomplete, is_last, &mut self.repaired);
            self.incomplete.drain(..used);
            if is_last {
                break;
            }
        }
        Ok(&self.repaired[self.consumed..])
    }

    fn consume(&mut self, bytes: usize) {
        self.consumed = self.repaired.len().min(self.consumed + bytes);
    }
}

impl<R: BufRead> Read for RepairedJson<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

/// The state between two pieces of a document.
#[derive(Debug, Default)]
struct TextRepair {
    strings: u64,
    /// Whether the current string is counted already.
    is_counted: bool,
}

/// An escape sequence at the start of a text.
enum Escape {
    /// Valid, or for the parser to reject; with its length.
    Kept(usize),
    HalfPair,
    Incomplete,
}

impl TextRepair {
    /// Appends the repaired `piece` to `out`. Returns how many bytes it used: all, unless the next piece may continue the rest.
    fn push(&mut self, piece: &[u8], is_last: bool, out: &mut Vec<u8>) -> usize {
        let mut used = 0;
        for chunk in piece.utf8_chunks() {
            let (valid, invalid) = (chunk.valid().as_bytes(), chunk.invalid());
            let repaired = self.escapes(valid, is_last || !invalid.is_empty(), out);
            used += repaired;
            if repaired < valid.len() {
                return used;
            }
            if invalid.is_empty() {
                continue;
            }
            let is_cut = std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if is_cut && !is_last && used + invalid.len() == piece.len() {
                return used;
            }
            used += invalid.len();
            out.extend_from_slice("\u{fffd}".as_bytes());
            self.count();
        }
        used
    }

    fn escapes(&mut self, text: &[u8], is_complete: bool, out: &mut Vec<u8>) -> usize {
        let (mut copied, mut next) = (0, 0);
        while let Some(distance) = text[next..].iter().position(|byte| *byte == b'\\') {
            let at = next + distance;
            self.pass(&text[next..at]);
            next = at
                + match escape(&text[at..], is_complete) {
                    Escape::Kept(length) => length,
                    Escape::HalfPair => {
                        out.extend_from_slice(&text[copied..at]);
                        out.extend_from_slice(REPLACEMENT_ESCAPE);
                        self.count();
                        copied = at + REPLACEMENT_ESCAPE.len();
                        REPLACEMENT_ESCAPE.len()
                    }
                    Escape::Incomplete => {
                        out.extend_from_slice(&text[copied..at]);
                        return at;
                    }
                };
        }
        self.pass(&text[next..]);
        out.extend_from_slice(&text[copied..]);
        text.len()
    }

    /// Notes text without escapes; a quote in it ends the current string.
    fn pass(&mut self, text: &[u8]) {
        self.is_counted = self.is_counted && !text.contains(&b'"');
    }

    fn count(&mut self) {
        self.strings += u64::from(!self.is_counted);
        self.is_counted = true;
    }
}

/// Classifies the escape sequence that `text` starts with. If the text is complete, nothing follows its end.
fn escape(text: &[u8], is_complete: bool) -> Escape {
    let incomplete = || if is_complete { Escape::Kept(text.len()) } else { Escape::Incomplete };
    match text.get(1) {
        None => return incomplete(),
        Some(b'u') if text.len() < 6 => return incomplete(),
        Some(b'u') => {}
        Some(_) => return Escape::Kept(2),
    }
    let Some(unit) = code_unit(text) else { return Escape::Kept(2) };
    if LOW_SURROGATES.contains(&unit) {
        return Escape::HalfPair;
    }
    if !HIGH_SURROGATES.contains(&unit) {
        return Escape::Kept(6);
    }
    let second = &text[6..];
    match code_unit(second) {
        Some(unit) if LOW_SURROGATES.contains(&unit) => Escape::Kept(12),
        None if !is_complete && second.len() < 6 && matches!(second, [] | [b'\\'] | [b'\\', b'u', ..]) => {
            Escape::Incomplete
        }
        _ => Escape::HalfPair,
    }
}

/// Returns the code unit of the escape `\uXXXX` at the start of the text.
fn code_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(br"\u")?.get(..4)?;
    let digits = digits.iter().all(u8::is_ascii_hexdigit).then_some(digits)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASES: [(&[u8], &str, u64); 10] = [
        (br#"{"a":"plain"}"#, r#"{"a":"plain"}"#, 0),
        (br#"["\ud83d\ude00 \u00e9"]"#, r#"["\ud83d\ude00 \u00e9"]"#, 0),
        (br#"["cut \ud83d","b"]"#, r#"["cut \ufffd","b"]"#, 1),
        (br#"["\ude00\ud83d","\uD83Dx\ud83d"]"#, r#"["\ufffd\ufffd","\ufffdx\ufffd"]"#, 2),
        (br#"["\ud83d\n","\ud83d\\ude00"]"#, r#"["\ufffd\n","\ufffd\\ude00"]"#, 2),
        (br#"["\\ud83d"]"#, r#"["\\ud83d"]"#, 0),
        (b"[\"caf\xe9\",\"\xff\\\"\xfe\"]", "[\"caf\u{fffd}\",\"\u{fffd}\\\"\u{fffd}\"]", 2),
        (b"{\"k\xed\xa0\xbd\":1}", "{\"k\u{fffd}\u{fffd}\u{fffd}\":1}", 1),
        ("[\"\u{1f600}\"]".as_bytes(), "[\"\u{1f600}\"]", 0),
        (br#"["\ud8"#, r#"["\ud8"#, 0),
    ];

    #[test]
    fn replaces_what_is_not_unicode_and_counts_the_strings() {
        for (json, expected, strings) in CASES {
            assert_eq!(repaired_json(json), (Cow::Borrowed(expected), strings), "{expected}");
        }
    }

    #[test]
    fn a_reader_repairs_pieces_of_any_size_alike() {
        for (json, expected, _) in CASES {
            for size in 1..=json.len() {
                let mut text = String::new();
                RepairedJson::new(io::BufReader::with_capacity(size, json))
                    .read_to_string(&mut text)
                    .unwrap();
                assert_eq!(text, expected, "{size}");
            }
        }
    }
}
