//! Where a body ends.

use bytes::{Buf, BytesMut};
use httparse::Status;

/// Longest line between chunks, extensions and trailers included.
const MAX_LINE: usize = 4 * 1024;

/// Trailers of one body, in bytes.
const MAX_TRAILERS: usize = 16 * 1024;

/// How a body is delimited, and how much of it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes.
    Length(u64),
    /// Chunks (RFC 9112, section 7.1).
    Chunked(Chunk),
    /// All that comes until the connection is closed.
    UntilClose,
}

/// Position in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// Before a size.
    Size,
    /// So many bytes, then a line end.
    Data(u64),
    /// Before the line end after the data.
    DataEnd,
    /// Before a trailer or the empty line; so many bytes of trailers have passed.
    Trailers(usize),
    /// After everything.
    End,
}

/// What can be taken from a body next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// At most so many bytes of content.
    Content(u64),
    /// More has to arrive first.
    More,
    /// Nothing: the body has ended.
    End,
}

impl Framing {
    /// At the start of a chunked body.
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunk::Size)
    }

    /// Bytes left, if known.
    pub(super) fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Whether everything has been taken.
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::End))
    }

    /// So many bytes of content have been taken.
    pub(super) fn took(&mut self, count: usize) {
        let count = count as u64;
        match self {
            Self::Length(left) => *left = left.saturating_sub(count),
            Self::Chunked(chunk) => {
                if let Chunk::Data(left) = chunk {
                    *left = left.saturating_sub(count);
                    if *left == 0 {
                        *chunk = Chunk::DataEnd;
                    }
                }
            }
            Self::UntilClose => {}
        }
    }

    /// What comes next, given what has arrived. Takes off `buffer` what lies between chunks.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Next, &'static str> {
        match self {
            Self::Length(0) => Ok(Next::End),
            Self::Length(left) => Ok(Next::Content(*left)),
            Self::UntilClose => Ok(Next::Content(u64::MAX)),
            Self::Chunked(chunk) => chunk.next(buffer),
        }
    }
}

impl Chunk {
    fn next(&mut self, buffer: &mut BytesMut) -> Result<Next, &'static str> {
        loop {
            match self {
                Self::Data(left) => return Ok(Next::Content(*left)),
                Self::End => return Ok(Next::End),
                Self::DataEnd => {
                    let [first, second, ..] = &buffer[..] else { return Ok(Next::More) };
                    if [*first, *second] != *b"\r\n" {
                        return Err("a chunk is longer than its size");
                    }
                    buffer.advance(2);
                    *self = Self::Size;
                }
                Self::Size => match httparse::parse_chunk_size(buffer) {
                    Ok(Status::Complete((length, size))) => {
                        buffer.advance(length);
                        *self = if size == 0 { Self::Trailers(0) } else { Self::Data(size) };
                    }
                    Ok(Status::Partial) if buffer.len() <= MAX_LINE => return Ok(Next::More),
                    Ok(Status::Partial) => return Err("the line before a chunk is too long"),
                    Err(_) => return Err("the size of a chunk is malformed"),
                },
                Self::Trailers(passed) => {
                    let Some(end) = buffer.iter().position(|byte| *byte == b'\n') else {
                        return if buffer.len() <= MAX_LINE {
                            Ok(Next::More)
                        } else {
                            Err("a trailer is too long")
                        };
                    };
                    let empty = matches!(&buffer[..end], b"\r" | b"");
                    let passed = *passed + end;
                    buffer.advance(end + 1);
                    if passed > MAX_TRAILERS {
                        return Err("its trailers are too long");
                    }
                    *self = if empty { Self::End } else { Self::Trailers(passed) };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `wire` that arrives in pieces of `step` bytes.
    fn decoded(wire: &[u8], step: usize) -> Result<(Vec<u8>, bool), &'static str> {
        let (mut framing, mut buffer, mut content) = (Framing::chunked(), BytesMut::new(), Vec::new());
        let mut pieces = wire.chunks(step);
        loop {
            match framing.next(&mut buffer)? {
                Next::End => return Ok((content, buffer.is_empty() && pieces.next().is_none())),
                Next::Content(most) if !buffer.is_empty() => {
                    let taken = buffer.split_to(buffer.len().min(most as usize));
                    framing.took(taken.len());
                    content.extend_from_slice(&taken);
                }
                Next::Content(_) | Next::More => match pieces.next() {
                    Some(piece) => buffer.extend_from_slice(piece),
                    None => return Err("incomplete"),
                },
            }
        }
    }

    #[test]
    fn chunks_are_put_together_however_they_arrive() {
        let wire = b"3\r\nhel\r\n2;name=value\r\nlo\r\n00A\r\n0123456789\r\n0\r\nx-trailer: y\r\n\r\n";
        for step in 1..wire.len() {
            assert_eq!(decoded(wire, step).unwrap(), (b"hello0123456789".to_vec(), true));
            assert!(decoded(&wire[..wire.len() - 1], step).is_err());
        }
        let (_, all) = decoded(b"0\r\n\r\nHTTP/1.1 200", 5).unwrap();
        assert!(!all, "what follows is not part of it");
    }

    #[test]
    fn malformed_chunks_are_refused() {
        let long = format!("0\r\nx: {}", "y".repeat(MAX_LINE));
        let many = format!("0\r\n{}", "x: y\r\n".repeat(MAX_TRAILERS));
        let extension = format!("1;{}", "y".repeat(2 * MAX_LINE));
        for wire in ["x\r\n", "3\r\nhello\r\n", "fffffffffffffffff\r\n", "-1\r\n", &long, &many, &extension] {
            let error = decoded(wire.as_bytes(), 700).unwrap_err();
            assert_ne!(error, "incomplete", "{wire}");
        }
    }
}
