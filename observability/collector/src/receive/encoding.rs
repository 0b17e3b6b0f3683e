//! Decompresses messages piece by piece, so that their decompressed size is reserved and bounded as it becomes known.

use std::io::{self, Read};
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use flate2::{Decompress, FlushDecompress, Status};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;

use super::admission::{LARGE_MESSAGE, MemoryBudget, Reservation};
use super::refusal::Refusal;
use crate::otlp::MAX_MESSAGE;

/// Content codings of OTLP/HTTP: those of Jaeger's receiver.
pub(super) const HTTP_ENCODINGS: &str = "gzip, zstd, deflate, zlib, snappy, x-snappy-framed, lz4";

/// Message encodings of OTLP/gRPC.
pub(super) const GRPC_ENCODINGS: &str = "identity,gzip,zstd,snappy,deflate";

/// Maximum window of zstd, as a power of two: that of the slowest level of Go's encoder. A larger one takes more memory.
const ZSTD_WINDOW_LOG: u32 = 25;

/// First chunk of a framed snappy stream.
const SNAPPY_STREAM: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// An encoding of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Gzip,
    /// With or without zlib's header: both are sent under the name `deflate`.
    Deflate,
    Zstd,
    /// One block, or framed: OpenTelemetry Collectors before 0.120 sent framed streams under the name `snappy`.
    Snappy,
    SnappyFramed,
    Lz4,
}

impl Encoding {
    /// Returns the encoding of an HTTP body; `None` if it is not encoded.
    pub(super) fn of_http(headers: &HeaderMap) -> Result<Option<Self>, Refusal> {
        let refusal = |encoding: &[u8]| Refusal::Encoding {
            encoding: String::from_utf8_lossy(encoding).into_owned(),
            accepted: HTTP_ENCODINGS,
        };
        let values = headers.get_all(header::CONTENT_ENCODING).into_iter();
        let names = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
        let names = names.map(<[u8]>::trim_ascii);
        let mut encodings = names.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(b"identity"));
        let Some(name) = encodings.next() else { return Ok(None) };
        if let Some(second) = encodings.next() {
            return Err(refusal(&[name, b", ", second].concat()));
        }
        let encoding = match name.to_ascii_lowercase().as_slice() {
            b"gzip" | b"x-gzip" => Self::Gzip,
            b"deflate" | b"zlib" => Self::Deflate,
            b"zstd" => Self::Zstd,
            b"snappy" => Self::Snappy,
            b"x-snappy-framed" => Self::SnappyFramed,
            b"lz4" => Self::Lz4,
            _ => return Err(refusal(name)),
        };
        Ok(Some(encoding))
    }

    /// Returns the encoding of compressed messages of a gRPC request; `None` if there are none.
    pub(super) fn of_grpc(headers: &HeaderMap) -> Result<Option<Self>, Refusal> {
        let encoding = headers.get("grpc-encoding").map_or(&b""[..], |value| value.as_bytes());
        Ok(Some(match encoding {
            b"" | b"identity" => return Ok(None),
            b"gzip" => Self::Gzip,
            b"deflate" => Self::Deflate,
            b"zstd" => Self::Zstd,
            b"snappy" => Self::Snappy,
            _ => {
                let encoding = String::from_utf8_lossy(encoding).into_owned();
                return Err(Refusal::Encoding { encoding, accepted: GRPC_ENCODINGS });
            }
        }))
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
            Self::SnappyFramed => "framed snappy",
            Self::Lz4 => "lz4",
        }
    }

    /// Decompresses a body, which is refused as soon as it exceeds a limit. Blocks, so it must be called on a blocking thread.
    pub(super) fn decompress(self, body: &[u8], memory: &mut DecodingMemory) -> Result<Vec<u8>, Refusal> {
        let refusal =
            |error: io::Error| Refusal::NotEncoded { encoding: self.as_str(), error: error.to_string() };
        let mut reader: Box<dyn Read + '_> = match self {
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(body)),
            Self::Deflate => Box::new(Inflate::new(body)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(refusal)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(refusal)?;
                Box::new(decoder)
            }
            Self::Snappy if !body.starts_with(SNAPPY_STREAM) => return self.snappy_block(body, memory),
            Self::Snappy | Self::SnappyFramed => Box::new(snap::read::FrameDecoder::new(body)),
            Self::Lz4 => Box::new(Lz4Frames::new(body)),
        };
        let mut decompressed = Vec::new();
        // The final size is unknown.
        loop {
            decompressed.reserve_exact(LARGE_MESSAGE.max(decompressed.len() / 4));
            let read = reader.by_ref().take(LARGE_MESSAGE as u64).read_to_end(&mut decompressed);
            let piece = read.map_err(refusal)?;
            if piece == 0 {
                return Ok(decompressed);
            }
            if decompressed.len() > MAX_MESSAGE {
                return Err(Refusal::TooLongDecompressed);
            }
            memory.grow(piece, decompressed.len())?;
        }
    }

    /// Decompresses a snappy block, which begins with its decompressed size.
    fn snappy_block(self, body: &[u8], memory: &mut DecodingMemory) -> Result<Vec<u8>, Refusal> {
        let refusal =
            |error: snap::Error| Refusal::NotEncoded { encoding: self.as_str(), error: error.to_string() };
        // Some clients send an empty body for an empty message.
        if body.is_empty() {
            return Ok(Vec::new());
        }
        let size = snap::raw::decompress_len(body).map_err(refusal)?;
        if size > MAX_MESSAGE {
            return Err(Refusal::TooLongDecompressed);
        }
        memory.grow(size, size)?;
        snap::raw::Decoder::new().decompress_vec(body).map_err(refusal)
    }
}

/// The memory of a message that is decompressed or converted.
pub(super) struct DecodingMemory {
    budget: Arc<MemoryBudget>,
    reservation: Arc<Reservation>,
    large_message_permit: Option<OwnedSemaphorePermit>,
}

impl DecodingMemory {
    pub(super) fn new(budget: Arc<MemoryBudget>, reservation: Arc<Reservation>) -> Self {
        Self { budget, reservation, large_message_permit: None }
    }

    /// Reserves `bytes` more of a message that has `total` bytes so far.
    fn grow(&mut self, bytes: usize, total: usize) -> Result<(), Refusal> {
        self.reservation.grow(bytes)?;
        self.permit(total)
    }

    /// Acquires the permit for large messages if a message of `bytes` is large. Blocks.
    pub(super) fn permit(&mut self, bytes: usize) -> Result<(), Refusal> {
        if bytes > LARGE_MESSAGE && self.large_message_permit.is_none() {
            let permit = Handle::current().block_on(self.budget.large_message_permit());
            self.large_message_permit = Some(permit?);
        }
        Ok(())
    }
}

/// Reader of a deflate stream, with or without zlib's header.
///
/// `flate2::read::ZlibDecoder` was considered: it does not report a truncated stream.
struct Inflate<'b> {
    input: &'b [u8],
    state: Decompress,
    ended: bool,
}

impl<'b> Inflate<'b> {
    fn new(input: &'b [u8]) -> Self {
        // RFC 1950: the method 8, and a header that is a multiple of 31.
        let has_header = matches!(*input, [method, flags, ..]
            if method & 15 == 8 && u16::from_be_bytes([method, flags]).is_multiple_of(31));
        Self { input, state: Decompress::new(has_header), ended: false }
    }
}

impl Read for Inflate<'_> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        while !self.ended && !output.is_empty() {
            let (consumed, produced) = (self.state.total_in(), self.state.total_out());
            let status = self.state.decompress(self.input, output, FlushDecompress::None)?;
            self.input = &self.input[(self.state.total_in() - consumed) as usize..];
            self.ended = status == Status::StreamEnd;
            let produced = (self.state.total_out() - produced) as usize;
            if produced > 0 {
                return Ok(produced);
            }
            if !self.ended && self.input.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(0)
    }
}

/// Reader of lz4 frames. The decoder of `lz4_flex` ends at the end of a frame, whether complete or not.
struct Lz4Frames<'b> {
    decoder: lz4_flex::frame::FrameDecoder<Remaining<'b>>,
    ended: bool,
}

/// Input that records whether a read exceeded it.
struct Remaining<'b> {
    input: &'b [u8],
    exceeded: bool,
}

impl<'b> Lz4Frames<'b> {
    fn new(input: &'b [u8]) -> Self {
        let input = Remaining { input, exceeded: false };
        Self { decoder: lz4_flex::frame::FrameDecoder::new(input), ended: false }
    }
}

impl Read for Lz4Frames<'_> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        while !self.ended && !output.is_empty() {
            let read = self.decoder.read(output)?;
            if read > 0 {
                return Ok(read);
            }
            let Remaining { input, exceeded } = self.decoder.get_ref();
            if *exceeded {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.ended = input.is_empty();
        }
        Ok(0)
    }
}

impl Read for Remaining<'_> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        self.exceeded |= output.len() > self.input.len();
        self.input.read(output)
    }
}
