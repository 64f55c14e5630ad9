//! `MOSDOpReply`: what came of a request.

use super::{Op, Redirect};
use crate::encoding::{DecodeError, Decoder};
use crate::osdmap::PgId;
use crate::payload::Payload;
use crate::types::Epoch;

/// Newest version of the message whose layout is known here (Quincy adds fields at the end of version 8).
const KNOWN: u16 = 10;
/// Bytes of an operation before the length of its output: number, flags, and its own 28 bytes.
const BEFORE_LENGTH: usize = 34;

/// The front of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Placement group that answered.
    pub pg: PgId,
    /// Flags, as in [`flags`](super::flags).
    pub flags: u64,
    /// 0 or more, or a negative errno.
    pub result: i32,
    /// Epoch of the OSD's map.
    pub epoch: Epoch,
    /// Which attempt it answers; negative: the OSD does not say.
    pub attempt: i32,
    /// Version of the object after the request.
    pub version: u64,
    /// The object is elsewhere.
    pub redirect: Option<Redirect>,
    /// Per operation: length of its output in the message's data, and its own result.
    operations: Vec<(usize, i32)>,
}

/// What one operation gave back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpResult<P> {
    /// Its own result: 0 or more, or a negative errno.
    pub result: i32,
    /// What it gives.
    pub output: Output<P>,
}

/// The form of an operation's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<P> {
    /// Small things, to be decoded.
    Bytes(Vec<u8>),
    /// Bytes of the object; `None`: none at all.
    Payload(Option<P>),
    /// Bytes of the object with holes between them: offset in the object and length of each piece, and all pieces one
    /// after the other.
    Sparse {
        /// Offset and length, ascending.
        extents: Vec<(u64, u64)>,
        /// The pieces; `None`: none at all.
        data: Option<P>,
    },
}

/// Why a reply has no results.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// The reply does not fit the request, or the data does not fit the reply.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// Whoever keeps the data gave no part of it, although the part is there: it gives so many at a time, and no more.
    #[error("no more parts of answers can be held at once")]
    Refused,
}

impl Reply {
    /// Reads the front of a message of this version.
    ///
    /// # Errors
    /// It is cut off, or of a version that must not be read.
    pub fn decode(version: u16, compat: u16, front: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new("MOSDOpReply", front);
        // Version 7 brought the layout that every release since Hammer writes to a client with our features.
        if compat > KNOWN || version < 7 {
            return Err(decoder.error(format_args!("version {version}, readable from {compat} on")));
        }
        // The object's name: the request knows it.
        decoder.blob()?;
        let pg = PgId::decode(&mut decoder)?;
        let flags = decoder.u64()?;
        let result = decoder.i32()?;
        // A version for clients older than any that is left.
        decoder.skip(12)?;
        let epoch = decoder.u32()?;
        let count = decoder.count(BEFORE_LENGTH + 4)?;
        let mut lengths = Vec::with_capacity(count);
        for _ in 0..count {
            decoder.skip(BEFORE_LENGTH)?;
            lengths.push(decoder.u32()? as usize);
        }
        let attempt = decoder.i32()?;
        let mut operations = Vec::with_capacity(count);
        for length in lengths {
            operations.push((length, decoder.i32()?));
        }
        // `replay_version`: of the placement group's log.
        decoder.skip(12)?;
        let version = decoder.u64()?;
        let redirect = decoder.option(Redirect::decode)?;
        Ok(Self { pg, flags, result, epoch, attempt, version, redirect, operations })
    }

    /// Cuts the message's data into the outputs of the operations that were asked for.
    ///
    /// # Errors
    /// What does not fit, or that a part of the data was [refused](OutputError::Refused).
    pub fn results<P: Payload>(
        &self,
        asked: &[Op<P>],
        data: Option<P>,
    ) -> Result<Vec<OpResult<P>>, OutputError> {
        let wrong = |problem: String| DecodeError::new("MOSDOpReply", problem);
        let available = data.as_ref().map_or(0, Payload::len);
        // An OSD that refuses a request as a whole may leave the operations out.
        if self.operations.len() != asked.len() && !(self.operations.is_empty() && self.result < 0) {
            return Err(
                wrong(format!("{} results for {} operations", self.operations.len(), asked.len())).into()
            );
        }
        let total = self.operations.iter().try_fold(0_usize, |sum, (length, _)| sum.checked_add(*length));
        if total.is_none_or(|total| total > available) {
            return Err(wrong(format!("outputs are longer than the {available} bytes of data")).into());
        }
        let mut data = Data::new(asked, data)?;
        let mut offset = 0;
        let mut results = Vec::with_capacity(asked.len());
        for (op, &(length, result)) in asked.iter().zip(&self.operations) {
            let output = match op {
                Op::Read(_) if length == 0 => Output::Payload(None),
                Op::Read(_) => Output::Payload(Some(data.cut(offset, length)?)),
                Op::SparseRead(_) if length == 0 => Output::Sparse { extents: Vec::new(), data: None },
                Op::SparseRead(_) => sparse(&mut data, offset, length)?,
                _ if length == 0 => Output::Bytes(Vec::new()),
                _ => Output::Bytes(data.copy(offset, length)?),
            };
            results.push(OpResult { result, output });
            offset += length;
        }
        Ok(results)
    }
}

/// The data of a reply, being cut up. What is asked of it lies inside.
struct Data<P> {
    payload: Option<P>,
    /// All of it, where it is small.
    copied: Option<Vec<u8>>,
}

impl<P: Payload> Data<P> {
    fn new(asked: &[Op<P>], payload: Option<P>) -> Result<Self, OutputError> {
        // One copy for all is cheaper than one for each, where a copy crosses a border.
        let small = asked.iter().all(|op| !matches!(op, Op::Read(_) | Op::SparseRead(_)));
        let copied = match &payload {
            Some(payload) if small => Some(payload.copy_out(0, payload.len()).ok_or(OutputError::Refused)?),
            _ => None,
        };
        Ok(Self { payload, copied })
    }

    /// A part that stays where it is. All of the data is given away as it is: a part would be one thing more to keep.
    fn cut(&mut self, offset: usize, length: usize) -> Result<P, OutputError> {
        let whole = self.payload.take_if(|payload| offset == 0 && length == payload.len());
        let part = || self.payload.as_ref().and_then(|payload| payload.slice(offset, length));
        whole.or_else(part).ok_or(OutputError::Refused)
    }

    /// A copy of a part.
    fn copy(&self, offset: usize, length: usize) -> Result<Vec<u8>, OutputError> {
        let part = match &self.copied {
            Some(copied) => copied.get(offset..offset + length).map(<[u8]>::to_vec),
            None => self.payload.as_ref().and_then(|payload| payload.copy_out(offset, length)),
        };
        part.ok_or(OutputError::Refused)
    }
}

/// The output of a sparse read: a list of extents, then the length of all pieces, then the pieces.
fn sparse<P: Payload>(data: &mut Data<P>, offset: usize, length: usize) -> Result<Output<P>, OutputError> {
    /// The two lengths, of the list and of the pieces.
    const LENGTHS: usize = 8;
    let wrong = |problem: String| DecodeError::new("sparse read", problem);
    let Some(room) = length.checked_sub(LENGTHS) else {
        return Err(wrong(format!("an output of {length} bytes")).into());
    };
    let count = Decoder::new("sparse read", &data.copy(offset, 4)?).u32()? as usize;
    let Some(table) = count.checked_mul(16).filter(|table| *table <= room) else {
        return Err(wrong(format!("{count} extents in {length} bytes")).into());
    };
    let table_bytes = data.copy(offset + 4, table + 4)?;
    let mut decoder = Decoder::new("sparse read", &table_bytes);
    let mut extents = Vec::with_capacity(count);
    let (mut total, mut end) = (0_u64, 0_u64);
    for _ in 0..count {
        let (start, size) = (decoder.u64()?, decoder.u64()?);
        if start < end {
            return Err(decoder.error("extents that overlap or go back").into());
        }
        end = start.checked_add(size).ok_or_else(|| decoder.error("an extent beyond all numbers"))?;
        total = total.checked_add(size).ok_or_else(|| decoder.error("extents beyond all numbers"))?;
        extents.push((start, size));
    }
    let pieces = decoder.u32()? as usize;
    if pieces as u64 != total || pieces != room - table {
        return Err(decoder.error(format_args!("{pieces} bytes of pieces, extents of {total}")).into());
    }
    let data = if pieces == 0 { None } else { Some(data.cut(offset + LENGTHS + table, pieces)?) };
    Ok(Output::Sparse { extents, data })
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
