//! A cluster of the tests: objects of files, in memory.

use bytes::Bytes;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use wasmount_ceph::cephfs::{Attributes, Kind, ReadPlan, RecursiveStat, Vino};
use wasmount_ceph::encoding::Encoder;
use wasmount_ceph::mds::{FileLayout, QuotaInfo};
use wasmount_ceph::osd::{Op, OpResult, Output};
use wasmount_ceph::rados::RadosError;
use wasmount_ceph::types::UTime;
use wasmount_ceph_guest::objects::{Place, Rados};

/// Pool, namespace, name and snapshot of an object.
type Object = (i64, String, String, u64);

/// An object: its bytes, and the number of the last truncation it has seen.
#[derive(Clone, Default)]
struct Stored {
    bytes: Vec<u8>,
    truncate_seq: u32,
}

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Fake {
    objects: RefCell<HashMap<Object, Stored>>,
    /// Names of the objects that were asked for, in order.
    pub(crate) asked: RefCell<Vec<String>>,
    /// What all requests fail with.
    pub(crate) fails: RefCell<Option<RadosError>>,
}

/// A live file of `size` bytes in pool 2, with this object size, stripe unit and stripe count.
pub(crate) fn plan(ino: u64, size: u64, (object_size, unit, count): (u64, u64, u64)) -> ReadPlan {
    let layout = FileLayout {
        stripe_unit: unit as u32,
        stripe_count: count as u32,
        object_size: object_size as u32,
        pool: 2,
        namespace: b"ns".to_vec(),
    };
    ReadPlan {
        vino: Vino::head(ino),
        layout: Arc::new(layout),
        size,
        truncate_seq: 0,
        truncate_size: u64::MAX,
        inline: None,
        cacheable: true,
        data_version: 1,
    }
}

/// An empty node of root's, with this mode.
pub(crate) fn attributes(vino: Vino, mode: u32) -> Attributes {
    let layout = FileLayout {
        stripe_unit: 4 << 20,
        stripe_count: 1,
        object_size: 4 << 20,
        pool: 2,
        namespace: Vec::new(),
    };
    Attributes {
        vino,
        kind: Kind::of_mode(mode).unwrap(),
        mode,
        uid: 0,
        gid: 0,
        nlink: 1,
        size: 0,
        rdev: 0,
        atime: UTime::default(),
        mtime: UTime::default(),
        ctime: UTime::default(),
        btime: UTime::default(),
        change_attr: 1,
        layout: Arc::new(layout),
        truncate_seq: 1,
        truncate_size: u64::MAX,
        dir_files: 0,
        dir_subdirs: 0,
        recursive: RecursiveStat::default(),
        quota: QuotaInfo::default(),
        dir_pin: -1,
        snap_btime: UTime::default(),
        symlink: None,
        xattrs: None,
    }
}

impl Fake {
    /// Makes an object of a file.
    pub(crate) fn put(&self, plan: &ReadPlan, object: u64, bytes: &[u8]) {
        let name = format!("{:x}.{object:08x}", plan.vino.ino);
        let namespace = String::from_utf8(plan.layout.namespace.clone()).unwrap();
        let stored = Stored { bytes: bytes.to_vec(), truncate_seq: plan.truncate_seq };
        self.objects.borrow_mut().insert((plan.layout.pool, namespace, name, plan.vino.snap), stored);
    }

    fn exec(&self, object: &Object, op: &Op<Bytes>) -> Result<Output<Bytes>, RadosError> {
        let stored = self.objects.borrow().get(object).cloned().ok_or(RadosError::NotFound)?;
        match op {
            Op::Read(extent) => {
                // As an OSD does it (`PrimaryLogPG::do_read`): a truncation that the object has not seen ends it.
                let seen = extent.truncate_seq <= stored.truncate_seq;
                let limit = if seen { u64::MAX } else { extent.truncate_size };
                let size = (stored.bytes.len() as u64).min(limit) as usize;
                let start = size.min(extent.offset as usize);
                let end = size.min(start + extent.length as usize);
                let data = Bytes::copy_from_slice(&stored.bytes[start..end]);
                Ok(Output::Payload((start < end).then_some(data)))
            }
            Op::Stat => {
                let mut encoder = Encoder::new();
                encoder.u64(stored.bytes.len() as u64).u32(1).u32(2);
                Ok(Output::Bytes(encoder.finish()))
            }
            _ => panic!("{op:?}"),
        }
    }
}

impl Rados for Fake {
    type Payload = Bytes;

    async fn exec(
        &self,
        place: &Place,
        object: &str,
        snap: u64,
        ops: Vec<Op<Bytes>>,
    ) -> Result<Vec<OpResult<Bytes>>, RadosError> {
        self.asked.borrow_mut().push(object.into());
        if let Some(error) = self.fails.borrow().clone() {
            return Err(error);
        }
        let object = (place.pool, place.namespace.clone(), object.to_owned(), snap);
        ops.iter().map(|op| Ok(OpResult { result: 0, output: Fake::exec(self, &object, op)? })).collect()
    }

    fn monotonic_ms(&self) -> u64 {
        0
    }
}
