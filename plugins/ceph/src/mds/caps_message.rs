//! `MClientCaps`: about one capability.

use super::{CapOp, Caps, FileLayout, InlineData, Rank, SnapTrace, kind};
use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::msgr::Message;
use crate::payload::Payload;
use crate::types::{Epoch, UTime};

/// The same capability at another rank (`ceph_mds_cap_peer`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapPeer {
    /// Its number there; 0: there is none.
    pub cap_id: u64,
    /// Its [`seq`](CapsMessage::seq) there.
    pub seq: u32,
    /// Its [`migrate_seq`](CapsMessage::migrate_seq) there.
    pub mseq: u32,
    /// The rank.
    pub rank: Rank,
    /// As in [`cap_flags`](super::cap_flags).
    pub flags: u8,
}

/// The file's part of a message: what is not said of a capability that moves away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapBody {
    /// Bytes.
    pub size: u64,
    /// How far a writer may write.
    pub max_size: u64,
    /// To what size it was last cut.
    pub truncate_size: u64,
    /// Counts cuts.
    pub truncate_seq: u32,
    /// When its bytes were changed.
    pub mtime: UTime,
    /// When it was read.
    pub atime: UTime,
    /// When anything about it was changed.
    pub ctime: UTime,
    /// Where its bytes are; the namespace from version 8 on.
    pub layout: FileLayout,
    /// Counts the times at which times were set.
    pub time_warp_seq: u32,
}

/// Bytes of a body.
const BODY_LEN: usize = 84;
/// Bytes of a [`CapPeer`].
const PEER_LEN: usize = 21;

/// One such message. What a version does not carry is not written, and read as nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapsMessage {
    /// What it says.
    pub op: CapOp,
    /// Of this inode; its live version.
    pub ino: u64,
    /// The snapshot realm of the inode.
    pub realm: u64,
    /// Number of the capability.
    pub cap_id: u64,
    /// Counts what is said about it; an answer repeats it.
    pub seq: u32,
    /// The number with which it was last issued.
    pub issue_seq: u32,
    /// What the client may do, or does.
    pub caps: Caps,
    /// What the client wants.
    pub wanted: Caps,
    /// What the client has changed.
    pub dirty: Caps,
    /// Counts moves to other ranks.
    pub migrate_seq: u32,
    /// The snapshot before which changes were made.
    pub snap_follows: u64,
    /// Realms, if they are new to the client.
    pub snap_trace: SnapTrace,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Type and permissions.
    pub mode: u32,
    /// Links.
    pub nlink: u32,
    /// Version of the extended attributes.
    pub xattr_version: u64,
    /// The extended attributes, encoded; empty: not told.
    pub xattrs: Vec<u8>,
    /// The file.
    pub body: CapBody,
    /// Where it moves to ([`CapOp::Export`]) or has been ([`CapOp::Import`]); `None`: that is not said.
    pub peer: Option<CapPeer>,
    /// The bytes of a small file.
    pub inline: InlineData,
    /// No object may be read or written under it with an older map; 0: any.
    pub osd_epoch_barrier: Epoch,
    /// The oldest flush that the client still waits for.
    pub oldest_flush_tid: u64,
    /// For whom something was changed.
    pub caller: (u32, u32),
    /// When the inode was made.
    pub btime: UTime,
    /// Counts changes.
    pub change_attr: u64,
    /// As in [`Self::SYNC`] and so on.
    pub flags: u32,
    /// Files in a directory, from version 11 on; -1: not told.
    pub files: i64,
    /// Directories in a directory.
    pub subdirs: i64,
    /// Encryption.
    pub fscrypt_auth: Vec<u8>,
    /// More of it.
    pub fscrypt_file: Vec<u8>,
    /// Number of a flush, which an acknowledgement repeats.
    pub tid: u64,
}

impl CapsMessage {
    /// Newest version of the message that is known.
    pub const VERSION: u16 = 12;
    /// In [`flags`](Self::flags): somebody waits for the flush.
    pub const SYNC: u32 = 1;
    /// In [`flags`](Self::flags): nothing is to be flushed for a snapshot.
    pub const NO_CAPSNAP: u32 = 2;
    /// In [`flags`](Self::flags): something is still to be flushed for a snapshot.
    pub const PENDING_CAPSNAP: u32 = 4;

    /// A message about this capability that says nothing more.
    #[must_use]
    pub fn new(op: CapOp, ino: u64, cap_id: u64) -> Self {
        Self {
            op,
            ino,
            realm: 0,
            cap_id,
            seq: 0,
            issue_seq: 0,
            caps: Caps::NONE,
            wanted: Caps::NONE,
            dirty: Caps::NONE,
            migrate_seq: 0,
            snap_follows: 0,
            snap_trace: SnapTrace::default(),
            uid: 0,
            gid: 0,
            mode: 0,
            nlink: 0,
            xattr_version: 0,
            xattrs: Vec::new(),
            body: CapBody::default(),
            peer: None,
            inline: InlineData { version: 0, bytes: Vec::new() },
            osd_epoch_barrier: 0,
            oldest_flush_tid: 0,
            caller: (0, 0),
            btime: UTime::default(),
            change_attr: 0,
            flags: 0,
            files: -1,
            subdirs: -1,
            fscrypt_auth: Vec::new(),
            fscrypt_file: Vec::new(),
            tid: 0,
        }
    }

    /// Reads a message; `new` as for [`SnapTrace::decode`].
    ///
    /// # Errors
    /// It is cut off.
    pub fn decode<P: Payload>(message: &Message<P>, new: bool) -> Result<Self, DecodeError> {
        let mut d = Decoder::new("MClientCaps", &message.front);
        let mut caps = Self::new(CapOp::from_raw(d.u32()?), d.u64()?, 0);
        caps.tid = message.tid;
        let trace = caps.decode_head(&mut d, message.middle.len())?;
        let mut body = d.sub("body of MClientCaps", BODY_LEN)?;
        if caps.op == CapOp::Export {
            caps.peer = Some(CapPeer::decode(&mut body)?);
        } else {
            caps.body = CapBody::decode(&mut body)?;
        }
        caps.snap_trace = SnapTrace::decode(d.bytes(trace)?, new)?;
        caps.xattrs.clone_from(&message.middle);
        caps.decode_later(message.version, &mut d)?;
        Ok(caps)
    }

    /// The head behind the inode's number; gives the length of the snap trace.
    fn decode_head(&mut self, d: &mut Decoder<'_>, middle: usize) -> Result<usize, DecodeError> {
        (self.realm, self.cap_id) = (d.u64()?, d.u64()?);
        (self.seq, self.issue_seq) = (d.u32()?, d.u32()?);
        (self.caps, self.wanted, self.dirty) = (Caps(d.u32()?), Caps(d.u32()?), Caps(d.u32()?));
        (self.migrate_seq, self.snap_follows) = (d.u32()?, d.u64()?);
        let trace = d.u32()? as usize;
        (self.uid, self.gid, self.mode, self.nlink) = (d.u32()?, d.u32()?, d.u32()?, d.u32()?);
        let xattrs = d.u32()? as usize;
        if xattrs != middle {
            return Err(
                d.error(format_args!("{xattrs} bytes of extended attributes announced, {middle} sent"))
            );
        }
        self.xattr_version = d.u64()?;
        Ok(trace)
    }

    /// What is behind the snap trace.
    fn decode_later(&mut self, version: u16, d: &mut Decoder<'_>) -> Result<(), DecodeError> {
        if version >= 2 {
            d.blob()?; // file locks, which only a client tells
        }
        if version >= 3 && self.op == CapOp::Import {
            self.peer = Some(CapPeer::decode(d)?);
        }
        if version >= 4 {
            self.inline = InlineData::decode(d)?;
        }
        if version >= 5 {
            self.osd_epoch_barrier = d.u32()?;
        }
        if version >= 6 {
            self.oldest_flush_tid = d.u64()?;
        }
        if version >= 7 {
            self.caller = (d.u32()?, d.u32()?);
        }
        if version >= 8 {
            self.body.layout.namespace = d.blob()?.to_vec();
        }
        if version >= 9 {
            (self.btime, self.change_attr) = (UTime::decode(d)?, d.u64()?);
        }
        if version >= 10 {
            self.flags = d.u32()?;
        }
        if version >= 11 {
            (self.files, self.subdirs) = (d.i64()?, d.i64()?);
        }
        if version >= 12 {
            self.fscrypt_auth = d.blob()?.to_vec();
            self.fscrypt_file = d.blob()?.to_vec();
        }
        Ok(())
    }

    /// The message, in this version: 11 is what Ceph 16 knows, 12 has fields for encryption.
    #[must_use]
    pub fn to_message<P: Payload>(&self, version: u16, new: bool) -> Message<P> {
        let mut e = Encoder::new();
        let trace = self.snap_trace.encode(new);
        e.u32(self.op.raw()).u64(self.ino).u64(self.realm).u64(self.cap_id);
        e.u32(self.seq).u32(self.issue_seq).u32(self.caps.0).u32(self.wanted.0).u32(self.dirty.0);
        e.u32(self.migrate_seq).u64(self.snap_follows).length(trace.len());
        e.u32(self.uid).u32(self.gid).u32(self.mode).u32(self.nlink);
        e.length(self.xattrs.len()).u64(self.xattr_version);
        if self.op == CapOp::Export {
            self.peer.unwrap_or_default().encode(&mut e);
            e.zeros(BODY_LEN - PEER_LEN);
        } else {
            self.body.encode(&mut e);
        }
        e.raw(&trace).u32(0);
        if self.op == CapOp::Import {
            self.peer.unwrap_or_default().encode(&mut e);
        }
        self.inline.encode(&mut e);
        e.u32(self.osd_epoch_barrier).u64(self.oldest_flush_tid).u32(self.caller.0).u32(self.caller.1);
        e.blob(&self.body.layout.namespace);
        self.btime.encode(&mut e);
        e.u64(self.change_attr).u32(self.flags).i64(self.files).i64(self.subdirs);
        if version >= 12 {
            e.blob(&self.fscrypt_auth).blob(&self.fscrypt_file);
        }
        let message = Message::new(kind::CLIENT_CAPS, version, 1, e.finish());
        Message { tid: self.tid, middle: self.xattrs.clone(), ..message }
    }

    /// The message, as a client sends it.
    #[must_use]
    pub fn into_message<P: Payload>(self) -> Message<P> {
        self.to_message(Self::VERSION, false)
    }
}

impl CapPeer {
    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (cap_id, seq, mseq, rank) = (d.u64()?, d.u32()?, d.u32()?, Rank(d.i32()?));
        Ok(Self { cap_id, seq, mseq, rank, flags: d.u8()? })
    }

    fn encode(self, e: &mut Encoder) {
        e.u64(self.cap_id).u32(self.seq).u32(self.mseq).i32(self.rank.0).u8(self.flags);
    }
}

impl CapBody {
    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            size: d.u64()?,
            max_size: d.u64()?,
            truncate_size: d.u64()?,
            truncate_seq: d.u32()?,
            mtime: UTime::decode(d)?,
            atime: UTime::decode(d)?,
            ctime: UTime::decode(d)?,
            layout: FileLayout::decode(d)?,
            time_warp_seq: d.u32()?,
        })
    }

    fn encode(&self, e: &mut Encoder) {
        e.u64(self.size).u64(self.max_size).u64(self.truncate_size).u32(self.truncate_seq);
        for time in [self.mtime, self.atime, self.ctime] {
            time.encode(e);
        }
        self.layout.encode(e);
        e.u32(self.time_warp_seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn it_survives_the_wire() {
        for raw in 0..15 {
            let mut sent = CapsMessage::new(CapOp::from_raw(raw), 0x100_0000_0001, 77);
            assert_eq!(sent.op.raw(), raw);
            sent.caps = Caps::ANY_RD;
            (sent.seq, sent.migrate_seq, sent.tid) = (3, 4, 5);
            sent.xattrs = b"xattrs".to_vec();
            sent.osd_epoch_barrier = 12;
            if sent.op != CapOp::Export {
                sent.body = CapBody { size: 9, truncate_seq: 1, ..CapBody::default() };
                sent.body.layout.pool = 4;
            } else {
                sent.body.layout.pool = 0;
            }
            sent.body.layout.namespace = b"ns".to_vec();
            if matches!(sent.op, CapOp::Export | CapOp::Import) {
                sent.peer = Some(CapPeer { cap_id: 1, seq: 2, mseq: 3, rank: Rank(1), flags: 1 });
            }
            let message = sent.clone().into_message::<Bytes>();
            assert_eq!(CapsMessage::decode(&message, false).unwrap(), sent);
            for length in 0..message.front.len() {
                let cut = Message { front: message.front[..length].to_vec(), ..message.share() };
                assert!(CapsMessage::decode(&cut, false).is_err(), "{length}");
            }
            let other = Message { middle: Vec::new(), ..message };
            assert!(CapsMessage::decode(&other, false).unwrap_err().to_string().contains("0 sent"));
        }
    }
}
