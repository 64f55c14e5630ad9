//! zstd streams of several frames, as layers have them that can be fetched in parts.

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::{self, BufRead, Read};

/// A frame without content (RFC 8878): magic number, single segment of size 0, one last raw block of size 0.
const EMPTY_FRAME: [u8; 9] = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x00, 0x01, 0x00, 0x00];

/// Decodes what it reads.
pub(crate) struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> Frames<R> {
    /// # Errors
    /// None that the source has to do with.
    pub(crate) fn new(source: R) -> io::Result<Self> {
        let mut decoder = FrameDecoder::new();
        // Only a decoder that has been used refuses windows beyond 100 MiB; a new one would keep as much as the stream says.
        decoder.reset(&EMPTY_FRAME[..]).map_err(io::Error::other)?;
        Ok(Self { source, decoder, in_frame: false })
    }

    fn read_frame(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.decoder.can_collect() < buffer.len() && !self.decoder.is_finished() {
            let strategy = BlockDecodingStrategy::UptoBlocks(1);
            self.decoder.decode_blocks(&mut self.source, strategy).map_err(io::Error::other)?;
        }
        self.decoder.read(buffer)
    }

    /// Begins with the next frame; false at the end of the stream.
    fn next_frame(&mut self) -> io::Result<bool> {
        loop {
            if self.source.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.decoder.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let skipped = io::copy(&mut self.source.by_ref().take(length.into()), &mut io::sink())?;
                    if skipped != u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.in_frame {
                let given = self.read_frame(buffer)?;
                if given > 0 {
                    return Ok(given);
                }
                self.in_frame = false;
            }
            if !self.next_frame()? {
                return Ok(0);
            }
            self.in_frame = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    fn decode(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Frames::new(bytes)?.take(1 << 24).read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn frames_and_what_is_between_them() {
        let text: Vec<u8> = (0..300_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let frame = compress_to_vec(&text[..], CompressionLevel::Fastest);
        assert_eq!(decode(&frame).unwrap(), text);
        // A skippable frame (RFC 8878, 3.1.2) with five bytes.
        let skip = [0x50, 0x2a, 0x4d, 0x18, 5, 0, 0, 0, 1, 2, 3, 4, 5];
        let all = [&frame[..], &skip, &EMPTY_FRAME, &frame].concat();
        assert_eq!(decode(&all).unwrap(), [&text[..], &text].concat());
        assert_eq!(decode(b"").unwrap(), b"");
        assert_eq!(decode(&skip).unwrap(), b"");
        for broken in [&frame[..frame.len() - 1], &skip[..10], b"gzip?", &[&frame[..], b"x"].concat()] {
            decode(broken).unwrap_err();
        }
    }

    #[test]
    fn a_window_beyond_the_limit_is_refused() {
        // Window descriptor with exponent 31 (RFC 8878, 3.1.1.1.2): 2 TiB; then a run-length block of 128 KiB that is not the last.
        let bomb =
            [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 31 << 3][..], &[0x02, 0x00, 0x10, b'x'].repeat(4)].concat();
        let error = decode(&bomb).unwrap_err().to_string();
        assert!(error.contains("too big"), "{error}");
    }
}
