//! The bytes of an answer, counted against what the plugin said about them.

use crate::imports::body::Pieces;
use crate::instance::Admitted;
use bytes::{Bytes, BytesMut};
use wasmount_core::ports::{Body, BoxFuture};
use wasmount_pipe::Pipe;
use wasmount_types::{Blame, ByteRange, Error, ErrorKind};

/// Bytes given to the core at a time, where the source does not decide.
const CHUNK: usize = 256 * 1024;

/// How many bytes a content may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// So many.
    Exactly(u64),
    /// One of the two: where a range begins at 0, a store that ignored it and one that honoured it look the same.
    Either(u64, u64),
    /// No more than so many: a file may end before.
    AtMost(u64),
}

impl Expected {
    /// Whether a content may end after so many.
    fn allows(self, length: u64) -> bool {
        match self {
            Self::Exactly(exact) => length == exact,
            Self::Either(one, other) => length == one || length == other,
            Self::AtMost(most) => length <= most,
        }
    }

    /// Most that may come.
    fn most(self) -> u64 {
        match self {
            Self::Exactly(most) | Self::AtMost(most) => most,
            Self::Either(one, other) => one.max(other),
        }
    }
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exactly(length) => write!(f, "{length} were announced"),
            Self::Either(one, other) => write!(f, "{one} or {other} were announced"),
            Self::AtMost(most) => write!(f, "{most} were asked for"),
        }
    }
}

/// How many bytes must come, given the question and where the content of this object of `size` bytes begins.
///
/// # Errors
/// What is wrong with `offset`; `Ok(None)`: the range lies beyond the end.
pub(super) fn expected(range: Option<ByteRange>, offset: u64, size: u64) -> Result<Option<Expected>, String> {
    let Some(range) = range else {
        return match offset {
            0 => Ok(Some(Expected::Exactly(size))),
            _ => Err(format!("content from {offset}, and the whole object was asked for")),
        };
    };
    let Some(rest) = size.checked_sub(range.offset).filter(|rest| *rest > 0) else { return Ok(None) };
    let part = range.length.map_or(rest, |length| length.min(rest));
    match offset {
        0 if range.offset == 0 && part != size => Ok(Some(Expected::Either(part, size))),
        0 => Ok(Some(Expected::Exactly(size))),
        _ if offset == range.offset => Ok(Some(Expected::Exactly(part))),
        _ => Err(format!("content from {offset}, and {} was asked for", range.offset)),
    }
}

/// `plugin NAME: KEY`, for messages.
pub(super) type What = Box<dyn Fn() -> String + Send + Sync>;

/// A content that ends with `corrupt` if it is longer or shorter than expected.
pub(super) struct CheckedBody {
    pieces: Pieces,
    expected: Expected,
    received: u64,
    what: What,
    ended: bool,
    /// The room that the bytes lie in.
    _admitted: Option<Admitted>,
}

impl CheckedBody {
    /// Checks the length at once if it is known.
    pub(super) fn new(pieces: Pieces, mut expected: Expected, what: What) -> Result<Self, Error> {
        if let Some(length) = pieces.len() {
            if !expected.allows(length) {
                return Err(wrong(&what(), format_args!("{length} bytes"), expected));
            }
            expected = Expected::Exactly(length);
        }
        Ok(Self { pieces, expected, received: 0, what, ended: false, _admitted: None })
    }

    /// Ends that read when this is dropped.
    pub(super) fn holding(self, admitted: Admitted) -> Self {
        Self { _admitted: Some(admitted), ..self }
    }

    /// Counts what came, or takes note of the end. `length`: of what came.
    fn counted<T>(
        &mut self,
        came: Option<Result<T, Error>>,
        length: impl FnOnce(&T) -> usize,
    ) -> Option<Result<T, Error>> {
        let longest = self.expected.most();
        let answer = match came {
            Some(Ok(bytes)) => {
                let received = self.received.saturating_add(length(&bytes) as u64);
                if received <= longest {
                    self.received = received;
                    return Some(Ok(bytes));
                }
                Some(Err(wrong(&(self.what)(), "more bytes", self.expected)))
            }
            Some(Err(error)) => Some(Err(error)),
            None if self.expected.allows(self.received) => None,
            None => {
                Some(Err(wrong(&(self.what)(), format_args!("only {} bytes", self.received), self.expected)))
            }
        };
        self.ended = true;
        answer
    }
}

fn wrong(what: &str, came: impl std::fmt::Display, expected: Expected) -> Error {
    Error::new(ErrorKind::Corrupt, Blame::Plugin, format!("{what}: {came} came where {expected}"))
}

impl Body for CheckedBody {
    fn len(&self) -> Option<u64> {
        match self.expected {
            Expected::Exactly(length) => Some(length.saturating_sub(self.received)),
            Expected::Either(..) | Expected::AtMost(_) => None,
        }
    }

    fn read_into<'a>(&'a mut self, into: &'a mut BytesMut) -> BoxFuture<'a, Option<Result<usize, Error>>> {
        Box::pin(async move {
            if self.ended {
                return None;
            }
            let before = into.len();
            let came = self.pieces.read_into(into).await;
            let counted = self.counted(came, |count| *count);
            if matches!(counted, Some(Err(_))) {
                // Too many are as wrong as all of them.
                into.truncate(before);
            }
            counted
        })
    }

    fn take(&mut self, least: usize, most: usize) -> Option<Result<Bytes, Error>> {
        if self.ended {
            return None;
        }
        let bytes = self.pieces.take(least, most)?;
        self.counted(Some(Ok(bytes)), Bytes::len)
    }

    fn pours(&self) -> bool {
        !self.ended && self.pieces.pours()
    }

    fn pour<'a>(
        &'a mut self,
        pipe: &'a mut Pipe,
        most: usize,
    ) -> BoxFuture<'a, Option<Result<usize, Error>>> {
        Box::pin(async move {
            if self.ended {
                return None;
            }
            let came = self.pieces.pour(pipe, most).await;
            self.counted(came, |count| *count)
        })
    }

    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, Error>>> {
        Box::pin(async move {
            if self.ended {
                return None;
            }
            let came = self.pieces.next(CHUNK).await;
            self.counted(came.map(|held| held.map(|held| held.bytes)), Bytes::len)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imports::BufferBudget;
    use crate::imports::body::{Held, Piece};
    use crate::instance::GuestMemory;
    use crate::limits::Limits;

    #[test]
    fn expectations() {
        let exact = |length| Ok(Some(Expected::Exactly(length)));
        assert_eq!(expected(None, 0, 10), exact(10));
        assert!(expected(None, 1, 10).is_err());
        assert_eq!(expected(Some(ByteRange::new(4, 3)), 4, 10), exact(3));
        assert_eq!(expected(Some(ByteRange::new(4, 30)), 4, 10), exact(6));
        assert_eq!(expected(Some(ByteRange::from(4)), 4, 10), exact(6));
        assert_eq!(expected(Some(ByteRange::new(4, 3)), 0, 10), exact(10));
        assert!(expected(Some(ByteRange::new(4, 3)), 5, 10).is_err());
        assert_eq!(expected(Some(ByteRange::new(0, 3)), 0, 10), Ok(Some(Expected::Either(3, 10))));
        assert_eq!(expected(Some(ByteRange::new(0, 30)), 0, 10), exact(10));
        assert_eq!(expected(Some(ByteRange::new(10, 1)), 10, 10), Ok(None));
    }

    fn pieces(lengths: &[usize]) -> Pieces {
        let all = lengths.iter().map(|n| Piece::Bytes(Held { bytes: vec![7; *n].into(), charge: None }));
        let (limits, all_memory) = (Limits::default(), GuestMemory::new(u64::MAX, &Limits::default()));
        let (passing, lasting) =
            (all_memory.passing(Default::default()), all_memory.lasting(Default::default()));
        Pieces::assemble(all, &BufferBudget::new(&limits, passing, lasting)).unwrap()
    }

    #[tokio::test]
    async fn wrong_lengths_are_corrupt() {
        let exact = Expected::Exactly(5);
        for lengths in [&[4][..], &[3, 3], &[]] {
            let error = CheckedBody::new(pieces(lengths), exact, Box::new(|| "k".into())).err().unwrap();
            assert_eq!((error.kind, error.blame), (ErrorKind::Corrupt, Blame::Plugin));
        }
        let mut body = CheckedBody::new(pieces(&[2, 3]), exact, Box::new(|| "k".into())).unwrap();
        assert_eq!(body.len(), Some(5));
        assert_eq!(body.next().await.unwrap().unwrap().len(), 2);
        assert_eq!(body.len(), Some(3));
        assert_eq!(body.next().await.unwrap().unwrap().len(), 3);
        assert!(body.next().await.is_none());
        // Of unknown length, as a chunked response is: only counting finds out.
        let lying = |lengths: &[usize]| CheckedBody {
            pieces: pieces(lengths),
            expected: exact,
            received: 0,
            what: Box::new(|| "k".into()),
            ended: false,
            _admitted: None,
        };
        for lengths in [&[2, 2][..], &[4, 2]] {
            let (mut body, mut into) = (lying(lengths), BytesMut::with_capacity(64));
            let error = loop {
                match body.read_into(&mut into).await.unwrap() {
                    Ok(count) => assert!(count > 0 && into.len() <= 5),
                    Err(error) => break error,
                }
            };
            // What was right before stays, the rest is taken out again.
            assert_eq!((error.kind, into.len()), (ErrorKind::Corrupt, 4));
            assert!(body.read_into(&mut into).await.is_none());
            let mut body = lying(lengths);
            assert!(body.next().await.unwrap().is_ok());
            let second = match body.next().await.unwrap() {
                Ok(_) => body.next().await.unwrap(),
                error => error,
            };
            assert_eq!(second.unwrap_err().kind, ErrorKind::Corrupt);
            assert!(body.next().await.is_none());
        }
    }

    #[tokio::test]
    async fn a_file_may_end_before() {
        let asked = Expected::AtMost(5);
        for lengths in [&[][..], &[2], &[2, 3]] {
            let mut body = CheckedBody::new(pieces(lengths), asked, Box::new(|| "k".into())).unwrap();
            let length = lengths.iter().sum::<usize>();
            assert_eq!(body.len(), Some(length as u64));
            let mut read = 0;
            while let Some(bytes) = body.next().await {
                read += bytes.unwrap().len();
            }
            assert_eq!(read, length);
        }
        let error = CheckedBody::new(pieces(&[6]), asked, Box::new(|| "k".into())).err().unwrap();
        assert!(error.message.contains("6 bytes came where 5 were asked for"), "{}", error.message);
    }
}
