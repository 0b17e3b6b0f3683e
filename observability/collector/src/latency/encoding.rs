//! The text form of a histogram, in files and in the API.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};

/// Length of the header before the DEFLATE data: cookie and length.
const DEFLATED_HEADER: usize = 8;

/// Length of the header of the inflated data: cookie, length, offset, digits, lowest and highest value, ratio.
const PLAIN_HEADER: usize = 40;

/// Number of significant digits of all histograms.
const DIGITS: u32 = 3;

/// Maximum length of the inflated data: every count of a histogram over all values takes its maximum of 9 bytes.
const MAX_PLAIN: usize = 1 << 20;

/// Encodes a histogram as HdrHistogram V2 + DEFLATE in base64.
pub(super) fn encode(histogram: &Histogram<u32>) -> Option<String> {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).ok()?;
    Some(STANDARD.encode(bytes))
}

/// Decodes a histogram; `None` if the text is invalid.
///
/// The deserializer allocates what the headers announce, up to 4 GiB, so they are checked against the data first.
pub(super) fn decode(text: &str) -> Option<Histogram<u32>> {
    let bytes = STANDARD.decode(text).ok()?;
    let deflated = bytes.get(DEFLATED_HEADER..)?;
    let mut plain = Vec::new();
    ZlibDecoder::new(deflated).take(MAX_PLAIN as u64 + 1).read_to_end(&mut plain).ok()?;
    let number = |at: usize| Some(u32::from_be_bytes(*plain.get(at..)?.first_chunk()?));
    let is_sound = plain.len() <= MAX_PLAIN
        && number(4)? as usize == plain.len().checked_sub(PLAIN_HEADER)?
        && number(12)? == DIGITS;
    is_sound.then(|| Deserializer::new().deserialize(&mut plain.as_slice()).ok())?
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    #[test]
    fn decodes_what_it_encodes() {
        let mut histogram = Histogram::new(3).unwrap();
        [1, 7, 3_600_000_000_000_u64].into_iter().for_each(|ns| histogram.record(ns).unwrap());
        assert_eq!(decode(&encode(&histogram).unwrap()).unwrap(), histogram);
    }

    #[test]
    fn rejects_headers_that_announce_more_than_there_is() {
        let histogram: Histogram<u32> = Histogram::new(3).unwrap();
        let bytes = STANDARD.decode(encode(&histogram).unwrap()).unwrap();
        let mut plain = Vec::new();
        ZlibDecoder::new(&bytes[DEFLATED_HEADER..]).read_to_end(&mut plain).unwrap();
        let packed = |plain: &[u8]| {
            let mut encoder = ZlibEncoder::new(bytes[..DEFLATED_HEADER].to_vec(), Compression::fast());
            encoder.write_all(plain).unwrap();
            STANDARD.encode(encoder.finish().unwrap())
        };
        assert!(decode(&packed(&plain)).is_some());
        let changed = |at: usize, to: u8| {
            let mut changed = plain.clone();
            changed[at] = to;
            packed(&changed)
        };
        assert!(decode(&changed(4, 0xff)).is_none(), "4 GiB of counts");
        assert!(decode(&changed(15, 5)).is_none(), "five digits take 25 MB");
        let mut long = plain.clone();
        long.resize(64 << 20, 0);
        long[4..8].copy_from_slice(&((64 << 20) - PLAIN_HEADER as u32).to_be_bytes());
        assert!(decode(&packed(&long)).is_none(), "64 MiB of zeros");
        assert!(decode("").is_none() && decode("AAAA").is_none());
    }
}
