//! `MClientRequest`: a metadata request as one attempt sends it.

use super::op::ARGS_LEN;
use super::{Caller, Caps, FeatureSet, FilePath, Op, feature, kind};
use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::msgr::Message;
use crate::payload::Payload;
use crate::types::{Epoch, UTime};

/// Flags of a request (`CEPH_MDS_FLAG_*`).
pub mod request_flags {
    /// It was answered before, and that may not have been written.
    pub const REPLAY: u32 = 1;
    /// The directory and the name are wanted in the answer, with a lease.
    pub const WANT_DENTRY: u32 = 2;
}

/// Capabilities or the lease of a name that a request gives back on its way (`ceph_mds_request_release`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapReleaseItem {
    /// Of this inode; for a lease: the directory.
    pub ino: u64,
    /// Number of the capability.
    pub cap_id: u64,
    /// What is kept.
    pub caps: Caps,
    /// What is wanted.
    pub wanted: Caps,
    /// The last number the MDS gave for it.
    pub seq: u32,
    /// The number with which it was last issued.
    pub issue_seq: u32,
    /// How often it has moved to another rank.
    pub mseq: u32,
    /// Number of the lease.
    pub dname_seq: u32,
    /// The name, if a lease is given back.
    pub dname: Vec<u8>,
}

/// Bytes of a release without its name.
const RELEASE_LEN: usize = 44;
/// Bytes of the head without the part that later versions append.
const HEAD_LEN: usize = 2 + 8 + 4 + 4 + 2 + 2 + 4 + 4 + 4 + 8 + ARGS_LEN;
/// And with it.
const HEAD_LEN_3: usize = HEAD_LEN + 4 + 4 + 4 + 4 + 4;

/// A request as one attempt sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestMessage {
    /// Version of the head: 1, 2 or 3, see [`Self::head_version`].
    pub head_version: u16,
    /// The oldest request that the client still waits for.
    pub oldest_client_tid: u64,
    /// Epoch of the client's map.
    pub mdsmap_epoch: Epoch,
    /// As in [`request_flags`].
    pub flags: u32,
    /// Counted from 0.
    pub retries: u32,
    /// How often it was sent to another rank.
    pub forwards: u32,
    /// What it asks.
    pub op: Op,
    /// For whom.
    pub caller: Caller,
    /// Owner of what it creates; `u32::MAX` for none.
    pub owner: (u32, u32),
    /// The inode that it has created, when it is played again.
    pub ino: u64,
    /// What it gives back.
    pub releases: Vec<CapReleaseItem>,
    /// Of what.
    pub path: FilePath,
    /// And a second one.
    pub path2: FilePath,
    /// When it was made.
    pub stamp: UTime,
    /// The other form of a new name.
    pub alternate_name: Vec<u8>,
    /// Encryption of a new file.
    pub fscrypt_auth: Vec<u8>,
    /// More of it.
    pub fscrypt_file: Vec<u8>,
}

impl RequestMessage {
    /// Version of the message that is written.
    pub const VERSION: u16 = 6;

    /// The version of the head that an MDS with these features reads. An older one would take what is behind the head for a part of it.
    #[must_use]
    pub fn head_version(features: &FeatureSet) -> u16 {
        match (features.has(feature::RETRY_FWD_32BITS), features.has(feature::HAS_OWNER_UIDGID)) {
            (false, _) => 1,
            (true, false) => 2,
            (true, true) => 3,
        }
    }

    /// Writes the front of a message of this version: 5 or 6.
    #[must_use]
    pub fn encode(&self, version: u16) -> Vec<u8> {
        let mut e = Encoder::new();
        e.u16(self.head_version).u64(self.oldest_client_tid).u32(self.mdsmap_epoch).u32(self.flags);
        // The low bytes of the counts, for an MDS that knows no others.
        e.u8(self.retries as u8).u8(self.forwards as u8);
        e.u16(u16::try_from(self.releases.len()).unwrap_or(u16::MAX));
        e.u32(self.op.code()).u32(self.caller.uid).u32(self.caller.gid).u64(self.ino);
        self.op.encode_args(&mut e);
        if self.head_version >= 2 {
            e.u32(self.retries).u32(self.forwards);
        }
        if self.head_version >= 3 {
            e.u32(HEAD_LEN_3 as u32).u32(self.owner.0).u32(self.owner.1);
        }
        self.path.encode(&mut e);
        self.path2.encode(&mut e);
        for release in self.releases.iter().take(usize::from(u16::MAX)) {
            release.encode(&mut e);
        }
        self.stamp.encode(&mut e);
        e.list(self.caller.gids.iter(), |e, gid| {
            e.u64(*gid);
        });
        e.blob(&self.alternate_name);
        if version >= 6 {
            e.blob(&self.fscrypt_auth).blob(&self.fscrypt_file);
        }
        e.finish()
    }

    /// The message; `tid` is the number of the request.
    #[must_use]
    pub fn into_message<P: Payload>(self, tid: u64) -> Message<P> {
        let front = self.encode(Self::VERSION);
        Message { tid, ..Message::new(kind::CLIENT_REQUEST, Self::VERSION, 1, front) }
    }

    /// Reads the front of a message of this version.
    ///
    /// # Errors
    /// It is cut off, or older than Ceph 14.
    pub fn decode(version: u16, front: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new("MClientRequest", front);
        if version < 4 {
            return Err(d.error(format_args!("version {version}, from before Ceph 14")));
        }
        let (head_version, oldest_client_tid, mdsmap_epoch, flags) = (d.u16()?, d.u64()?, d.u32()?, d.u32()?);
        let (mut retries, mut forwards) = (u32::from(d.u8()?), u32::from(d.u8()?));
        let (count, code) = (d.u16()?, d.u32()?);
        let (uid, gid, ino) = (d.u32()?, d.u32()?, d.u64()?);
        let op = Op::decode(code, &d.array()?)?;
        if head_version >= 2 {
            (retries, forwards) = (d.u32()?, d.u32()?);
        }
        let mut owner = (u32::MAX, u32::MAX);
        if head_version >= 3 {
            let length = d.u32()? as usize;
            owner = (d.u32()?, d.u32()?);
            let Some(more) = length.checked_sub(HEAD_LEN_3) else {
                return Err(d.error(format_args!("a head of {length} bytes")));
            };
            d.skip(more)?;
        }
        let (path, path2) = (FilePath::decode(&mut d)?, FilePath::decode(&mut d)?);
        if usize::from(count) > d.remaining() / RELEASE_LEN {
            return Err(d.error(format_args!("{count} releases announced, {} bytes left", d.remaining())));
        }
        let releases = (0..count).map(|_| CapReleaseItem::decode(&mut d)).collect::<Result<_, _>>()?;
        let stamp = UTime::decode(&mut d)?;
        let gids = d.list(Decoder::u64)?;
        let mut message = Self {
            head_version,
            oldest_client_tid,
            mdsmap_epoch,
            flags,
            retries,
            forwards,
            op,
            caller: Caller { uid, gid, gids },
            owner,
            ino,
            releases,
            path,
            path2,
            stamp,
            alternate_name: Vec::new(),
            fscrypt_auth: Vec::new(),
            fscrypt_file: Vec::new(),
        };
        if version >= 5 {
            message.alternate_name = d.blob()?.to_vec();
        }
        if version >= 6 {
            message.fscrypt_auth = d.blob()?.to_vec();
            message.fscrypt_file = d.blob()?.to_vec();
        }
        Ok(message)
    }
}

impl CapReleaseItem {
    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (ino, cap_id, caps, wanted) = (d.u64()?, d.u64()?, Caps(d.u32()?), Caps(d.u32()?));
        let (seq, issue_seq, mseq, dname_seq) = (d.u32()?, d.u32()?, d.u32()?, d.u32()?);
        let dname = d.blob()?.to_vec();
        Ok(Self { ino, cap_id, caps, wanted, seq, issue_seq, mseq, dname_seq, dname })
    }

    fn encode(&self, e: &mut Encoder) {
        e.u64(self.ino).u64(self.cap_id).u32(self.caps.0).u32(self.wanted.0);
        e.u32(self.seq).u32(self.issue_seq).u32(self.mseq).u32(self.dname_seq).blob(&self.dname);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn request(head_version: u16) -> RequestMessage {
        RequestMessage {
            head_version,
            oldest_client_tid: 4,
            mdsmap_epoch: 9,
            flags: request_flags::WANT_DENTRY,
            retries: 2,
            forwards: 1,
            op: Op::Lookup { mask: Caps::AUTH_SHARED },
            caller: Caller { uid: 1000, gid: 100, gids: vec![4, 24] },
            owner: (u32::MAX, u32::MAX),
            ino: 0,
            releases: vec![CapReleaseItem { ino: 1, dname: b"n".to_vec(), ..CapReleaseItem::default() }],
            path: FilePath::new(1, b"\xff\xfe"),
            path2: FilePath::default(),
            stamp: UTime { seconds: 1, nanoseconds: 2 },
            alternate_name: Vec::new(),
            fscrypt_auth: Vec::new(),
            fscrypt_file: Vec::new(),
        }
    }

    #[test]
    fn it_survives_the_wire() {
        for head_version in 1..=3 {
            let sent = request(head_version);
            let message = sent.clone().into_message::<Bytes>(77);
            assert_eq!((message.tid, message.version), (77, 6));
            assert_eq!(RequestMessage::decode(6, &message.front).unwrap(), sent);
            for length in 0..message.front.len() {
                assert!(RequestMessage::decode(6, &message.front[..length]).is_err());
            }
        }
    }

    #[test]
    fn the_head_is_what_the_mds_reads() {
        let head = |bits: &[u32]| RequestMessage::head_version(&bits.iter().copied().collect());
        assert_eq!([head(&[]), head(&[20]), head(&[18]), head(&[18, 20])], [1, 1, 2, 3]);
        let mut bytes = request(1).encode(6);
        // More releases than there are bytes for.
        bytes[20..22].copy_from_slice(&[0xff, 0xff]);
        assert!(RequestMessage::decode(6, &bytes).unwrap_err().to_string().contains("65535 releases"));
    }
}
