//! Methods of the OSD class `rbd` (`cls/rbd/cls_rbd.cc`): what they are given, and what they give back.

use wasmount_ceph::encoding::{DecodeError, Decoder, Encoder};
use wasmount_ceph::osd::Op;
use wasmount_ceph::types::UTime;

/// A call of a method that reads.
fn call<P>(method: &str, input: Encoder) -> Op<P> {
    Op::Call { class: "rbd".into(), method: method.into(), input: input.finish() }
}

/// A call that is given nothing.
fn plain<P>(method: &str) -> Op<P> {
    call(method, Encoder::new())
}

/// A call that is given the id of a snapshot.
fn of_snap<P>(method: &str, snap: u64) -> Op<P> {
    let mut input = Encoder::new();
    input.u64(snap);
    call(method, input)
}

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident $how:ident ($($snap:ident)?);)*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name<P>($($snap: u64)?) -> Op<P> {
                $how(stringify!($name) $(, $snap)?)
            }
        )*
    };
}

methods! {
    /// Id of the image, from `rbd_id.NAME`.
    get_id plain();
    /// Beginning of the names of its data objects.
    get_object_prefix plain();
    /// Order of its object size, and its size.
    get_size of_snap(snap);
    /// Flags of the image or of a snapshot.
    get_flags of_snap(snap);
    /// Newest snapshot, and all of them, newest first.
    get_snapcontext plain();
    /// Stripe unit and count. Fails for images without that feature.
    get_stripe_unit_count plain();
    /// Pool of its data objects.
    get_data_pool plain();
    /// Time of the last write, as far as writers tell.
    get_modify_timestamp plain();
    /// The snapshot that it is a clone of.
    parent_get plain();
    /// How much of it is seen through to the parent.
    parent_overlap_get of_snap(snap);
    /// All about a snapshot.
    snapshot_get of_snap(snap);
    /// Whether a snapshot is protected.
    get_protection_status of_snap(snap);
    /// Objects that exist.
    object_map_load plain();
}

/// Feature bits, as a reader sees them.
#[must_use]
pub fn get_features<P>(snap: u64) -> Op<P> {
    let mut input = Encoder::new();
    input.u64(snap).bool(true);
    call("get_features", input)
}

/// A page of the names of all images and their ids.
#[must_use]
pub fn dir_list<P>(start_after: &str, max: u64) -> Op<P> {
    let mut input = Encoder::new();
    input.blob(start_after).u64(max);
    call("dir_list", input)
}

/// Reads all of an output with `read`.
///
/// # Errors
/// Those of `read`.
pub fn read<'a, T>(
    what: &'static str,
    output: &'a [u8],
    read: impl FnOnce(&mut Decoder<'a>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    read(&mut Decoder::new(what, output))
}

/// Output of [`get_size`].
///
/// # Errors
/// It is cut off.
pub fn size(output: &[u8]) -> Result<(u8, u64), DecodeError> {
    read("get_size", output, |decoder| Ok((decoder.u8()?, decoder.u64()?)))
}

/// Output of [`get_snapcontext`]: ids of snapshots, newest first.
///
/// # Errors
/// It is cut off.
pub fn snapshot_ids(output: &[u8]) -> Result<Vec<u64>, DecodeError> {
    read("get_snapcontext", output, |decoder| {
        decoder.skip(8)?;
        decoder.list(Decoder::u64)
    })
}

/// Output of [`parent_overlap_get`]; 0 if there is no parent.
///
/// # Errors
/// It is cut off.
pub fn overlap(output: &[u8]) -> Result<u64, DecodeError> {
    read("parent_overlap_get", output, |decoder| Ok(decoder.option(Decoder::u64)?.unwrap_or(0)))
}

/// The snapshot that an image is a clone of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentSpec {
    /// Id of its pool.
    pub pool: i64,
    /// Its namespace there.
    pub namespace: String,
    /// Id of the image.
    pub image: String,
    /// Id of the snapshot.
    pub snap: u64,
}

impl ParentSpec {
    /// Reads the output of [`parent_get`]; `None` if there is no parent.
    ///
    /// # Errors
    /// It is cut off.
    pub fn decode(output: &[u8]) -> Result<Option<Self>, DecodeError> {
        let mut body = Decoder::new("parent_get", output).section("ParentImageSpec", 1)?.body;
        let spec =
            Self { pool: body.i64()?, namespace: body.string()?, image: body.string()?, snap: body.u64()? };
        Ok((spec.pool >= 0 && !spec.image.is_empty()).then_some(spec))
    }
}

/// What a snapshot was made for (`SnapshotNamespaceType` of `cls_rbd_types.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// By a user, with a name of theirs.
    User,
    /// For nothing any more: its user has removed it. It is kept as long as it has clones of the newer kind, which it counts.
    Trash,
    /// For a group, a mirror or anything newer: not by that name.
    Other(u32),
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its id.
    pub id: u64,
    /// What it was made for.
    pub purpose: Purpose,
    /// Its name.
    pub name: String,
    /// Size of the image at that moment.
    pub size: u64,
    /// When it was taken.
    pub created: UTime,
    /// Clones of the newer kind: those that do not need it to be protected.
    pub children: u32,
}

impl SnapshotInfo {
    /// Reads the output of [`snapshot_get`].
    ///
    /// # Errors
    /// It is cut off.
    pub fn decode(output: &[u8]) -> Result<Self, DecodeError> {
        let mut body = Decoder::new("snapshot_get", output).section("SnapshotInfo", 1)?.body;
        let id = body.u64()?;
        let purpose = match body.section("SnapshotNamespace", 1)?.body.u32()? {
            0 => Purpose::User,
            2 => Purpose::Trash,
            other => Purpose::Other(other),
        };
        let (name, size) = (body.string()?, body.u64()?);
        Ok(Self { id, purpose, name, size, created: UTime::decode(&mut body)?, children: body.u32()? })
    }

    /// Whether its bytes may be gone. Who removes a snapshot puts it into the trash first, gives its bytes up if it has no clones, and
    /// removes its record at last (`SnapshotRemoveRequest` of librbd).
    #[must_use]
    pub fn may_be_gone(&self) -> bool {
        self.purpose == Purpose::Trash && self.children == 0
    }
}

/// Whether the output of [`get_protection_status`] says that it cannot be removed.
///
/// # Errors
/// There is none.
pub fn is_protected(output: &[u8]) -> Result<bool, DecodeError> {
    /// `RBD_PROTECTION_STATUS_UNPROTECTED`; the others are `UNPROTECTING` and `PROTECTED`.
    const UNPROTECTED: u8 = 0;
    read("get_protection_status", output, |decoder| Ok(decoder.u8()? != UNPROTECTED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn input(op: Op<Bytes>) -> (String, Vec<u8>) {
        match op {
            Op::Call { method, input, .. } => (method, input),
            _ => panic!("{op:?}"),
        }
    }

    /// What `rbd ls -l` sent and was answered (Ceph 16.2.15).
    #[test]
    fn as_recorded() {
        assert_eq!(
            input(get_features(u64::MAX - 1)),
            ("get_features".into(), vec![0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1])
        );
        assert_eq!(input(dir_list("", 1024)), ("dir_list".into(), vec![0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0]));
        assert_eq!(input(snapshot_get(4)), ("snapshot_get".into(), vec![4, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(size(&[22, 0, 0, 0, 8, 0, 0, 0, 0]), Ok((22, 128 << 20)));
        let context = [4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(snapshot_ids(&context), Ok(vec![4]));
        assert_eq!(overlap(&[1, 0, 0, 0, 8, 0, 0, 0, 0]), Ok(128 << 20));
        assert_eq!(overlap(&[0]), Ok(0));
    }

    #[test]
    fn parents_as_recorded() {
        let mut answer = vec![1, 1, 36, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0];
        answer.extend_from_slice(b"105ea15aff12");
        answer.extend_from_slice(&[4, 0, 0, 0, 0, 0, 0, 0]);
        let parent = ParentSpec { pool: 4, namespace: String::new(), image: "105ea15aff12".into(), snap: 4 };
        assert_eq!(ParentSpec::decode(&answer), Ok(Some(parent)));
        let mut none = vec![1, 1, 24, 0, 0, 0];
        none.extend_from_slice(&[0xff; 8]);
        none.extend_from_slice(&[0; 8]);
        none.extend_from_slice(&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(ParentSpec::decode(&none), Ok(None));
        assert!(ParentSpec::decode(&answer[..30]).is_err());
    }

    #[test]
    fn snapshots_as_recorded() {
        let mut answer =
            vec![1, 1, 46, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 1, 4, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0];
        answer.extend_from_slice(b"base");
        answer.extend_from_slice(&[
            0, 0, 0, 8, 0, 0, 0, 0, 0x25, 0xcb, 0, 0x6b, 0x1e, 0xef, 0x3c, 0x20, 0, 0, 0, 0,
        ]);
        let base = SnapshotInfo::decode(&answer).unwrap();
        assert_eq!((base.id, base.purpose, &*base.name, base.size), (4, Purpose::User, "base", 128 << 20));
        assert_eq!(base.created.seconds, 0x6b00_cb25);
        assert_eq!((base.children, base.may_be_gone()), (0, false));
        // The same in the trash, without a clone and with one.
        answer[20] = 2;
        assert!(SnapshotInfo::decode(&answer).unwrap().may_be_gone());
        let children = answer.len() - 4;
        answer[children] = 1;
        assert!(!SnapshotInfo::decode(&answer).unwrap().may_be_gone());
        assert_eq!((is_protected(&[0]), is_protected(&[2])), (Ok(false), Ok(true)));
    }
}
