//! `MClientReconnect`: what a client holds, told to an MDS that takes a rank over.

use super::{Caps, kind};
use crate::encoding::{DecodeError, Decoder, Encoder, Section};
use crate::msgr::{Chunk, Message};
use crate::payload::Payload;

/// A capability that the client holds (`cap_reconnect_t`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReconnectCap {
    /// Its inode.
    pub ino: u64,
    /// Its number.
    pub cap_id: u64,
    /// What the client wants.
    pub wanted: Caps,
    /// What it has.
    pub issued: Caps,
    /// The snapshot realm of the inode.
    pub realm: u64,
    /// Where the path begins.
    pub path_base: u64,
    /// A path by which the MDS finds the inode; empty: none is known.
    pub path: Vec<u8>,
    /// The snapshot before which changes were made; 0: there are none.
    pub snap_follows: u64,
}

/// A snapshot realm that the client knows (`snaprealm_reconnect_t`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReconnectRealm {
    /// The directory at its top.
    pub ino: u64,
    /// Its version.
    pub seq: u64,
    /// The realm it lies in.
    pub parent: u64,
}

/// One such message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReconnectMessage {
    /// Capabilities.
    pub caps: Vec<ReconnectCap>,
    /// Realms.
    pub realms: Vec<ReconnectRealm>,
    /// More messages follow.
    pub more: bool,
}

/// Bytes of a capability with an empty path.
const CAP_LEN: usize = 8 + 6 + 4 + 36 + 8;
/// Bytes of a realm.
const REALM_LEN: usize = 6 + 24;

impl ReconnectMessage {
    /// Version of the message that is written, and oldest that a reader must know.
    pub const VERSION: (u16, u16) = (5, 4);

    /// The message. All of it is in the data.
    #[must_use]
    pub fn into_message<P: Payload>(self) -> Message<P> {
        let mut e = Encoder::new();
        e.list(self.caps.iter(), |e, cap| {
            e.u64(cap.ino).section(2, 1, |e| {
                e.blob(&cap.path).u64(cap.cap_id).u32(cap.wanted.0).u32(cap.issued.0);
                // No file locks.
                e.u64(cap.realm).u64(cap.path_base).u32(0).u64(cap.snap_follows);
            });
        });
        e.list(self.realms.iter(), |e, realm| {
            e.section(1, 1, |e| {
                e.u64(realm.ino).u64(realm.seq).u64(realm.parent);
            });
        });
        e.bool(self.more);
        let (version, compat) = Self::VERSION;
        let message = Message::new(kind::CLIENT_RECONNECT, version, compat, Vec::new());
        Message { data: vec![Chunk::Bytes(e.finish())], ..message }
    }

    /// Reads the data of a message of this version.
    ///
    /// # Errors
    /// It is cut off, or older than Ceph 14.
    pub fn decode(version: u16, data: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new("MClientReconnect", data);
        if version < 4 {
            return Err(d.error(format_args!("version {version}, from before Ceph 14")));
        }
        let mut caps = Vec::new();
        for _ in 0..d.count(CAP_LEN)? {
            caps.push(ReconnectCap::decode(&mut d)?);
        }
        let mut realms = Vec::new();
        for _ in 0..d.count(REALM_LEN)? {
            let mut body = d.section("snaprealm_reconnect_t", 1)?.body;
            realms.push(ReconnectRealm { ino: body.u64()?, seq: body.u64()?, parent: body.u64()? });
        }
        let more = version >= 5 && d.bool()?;
        Ok(Self { caps, realms, more })
    }
}

impl ReconnectCap {
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let ino = decoder.u64()?;
        let Section { version, body: mut d, .. } = decoder.section("cap_reconnect_t", 2)?;
        let (path, cap_id) = (d.blob()?.to_vec(), d.u64()?);
        let (wanted, issued) = (Caps(d.u32()?), Caps(d.u32()?));
        let (realm, path_base, locks) = (d.u64()?, d.u64()?, d.u32()?);
        d.skip(locks as usize)?;
        let snap_follows = if version >= 2 { d.u64()? } else { 0 };
        Ok(Self { ino, cap_id, wanted, issued, realm, path_base, path, snap_follows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn it_survives_the_wire() {
        let cap = ReconnectCap {
            ino: 1,
            cap_id: 2,
            wanted: Caps::FILE_RD,
            issued: Caps::ANY_RD,
            realm: 1,
            path_base: 1,
            path: b"dir/\xff".to_vec(),
            snap_follows: 3,
        };
        let realms = vec![ReconnectRealm { ino: 1, seq: 2, parent: 0 }];
        let sent = ReconnectMessage { caps: vec![cap, ReconnectCap::default()], realms, more: true };
        let message = sent.clone().into_message::<Bytes>();
        let [Chunk::Bytes(data)] = &message.data[..] else { panic!("one chunk") };
        assert_eq!(ReconnectMessage::decode(message.version, data).unwrap(), sent);
        for length in 0..data.len() {
            assert!(ReconnectMessage::decode(5, &data[..length]).is_err(), "{length}");
        }
    }
}
