//! `MClientQuota`: how much of a quota is used.

use super::{QuotaInfo, kind};
use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::msgr::Message;
use crate::payload::Payload;
use crate::types::UTime;

/// One such message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaMessage {
    /// The directory that has the quota.
    pub ino: u64,
    /// Newest change below it.
    pub rctime: UTime,
    /// Bytes in all files below.
    pub rbytes: u64,
    /// Files below.
    pub rfiles: u64,
    /// Directories below, itself included.
    pub rsubdirs: u64,
    /// The quota.
    pub quota: QuotaInfo,
}

impl QuotaMessage {
    /// Reads the front of a message.
    ///
    /// # Errors
    /// It is cut off.
    pub fn decode(front: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new("MClientQuota", front);
        Ok(Self {
            ino: d.u64()?,
            rctime: UTime::decode(&mut d)?,
            rbytes: d.u64()?,
            rfiles: d.u64()?,
            rsubdirs: d.u64()?,
            quota: QuotaInfo::decode(&mut d)?,
        })
    }

    /// The message.
    #[must_use]
    pub fn into_message<P: Payload>(self) -> Message<P> {
        let mut e = Encoder::new();
        e.u64(self.ino);
        self.rctime.encode(&mut e);
        e.u64(self.rbytes).u64(self.rfiles).u64(self.rsubdirs);
        self.quota.encode(&mut e);
        Message::new(kind::CLIENT_QUOTA, 1, 1, e.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn it_survives_the_wire() {
        let quota = QuotaInfo { max_bytes: 10 << 20, max_files: 20 };
        let sent =
            QuotaMessage { ino: 1, rbytes: 2, rfiles: 3, rsubdirs: 4, quota, ..QuotaMessage::default() };
        let front = sent.into_message::<Bytes>().front;
        assert_eq!(QuotaMessage::decode(&front).unwrap(), sent);
        for length in 0..front.len() {
            assert!(QuotaMessage::decode(&front[..length]).is_err(), "{length}");
        }
    }
}
