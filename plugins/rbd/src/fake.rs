//! A cluster of the tests: objects in memory, and answers of the OSD class by what was asked.

use crate::rados::{Place, Rados};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use wasmount_ceph::encoding::Encoder;
use wasmount_ceph::osd::{Op, OpResult, Output, snap};
use wasmount_ceph::rados::RadosError;

/// Pool, namespace and name of an object.
type Object = (i64, String, String);
/// Outputs by method and input.
type Answers = HashMap<(String, Vec<u8>), Vec<u8>>;
/// Pool, namespace, image id and snapshot of a parent.
type Parent = (i64, &'static str, &'static str, u64);

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Fake {
    data: RefCell<HashMap<(Object, u64), Bytes>>,
    answers: RefCell<HashMap<Object, Answers>>,
    /// Names of the objects that were asked for, in order.
    pub(crate) asked: RefCell<Vec<String>>,
    pub(crate) clock_ms: Cell<u64>,
}

pub(crate) fn place(pool: i64, namespace: &str) -> Place {
    Place { pool, namespace: namespace.into() }
}

fn object(place: &Place, name: &str) -> Object {
    (place.pool, place.namespace.clone(), name.into())
}

fn hex(text: &str) -> Vec<u8> {
    let text = if text == "-" { "" } else { text };
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// What makes an image, for [`Fake::add_image`].
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) size: u64,
    pub(crate) order: u8,
    pub(crate) features: u64,
    pub(crate) flags: u64,
    pub(crate) stripes: Option<(u64, u64)>,
    pub(crate) data_pool: i64,
    /// And how much is seen through to it.
    pub(crate) parent: Option<(Parent, u64)>,
}

impl Default for Spec {
    fn default() -> Self {
        Self { size: 0, order: 12, features: 1, flags: 0, stripes: None, data_pool: -1, parent: None }
    }
}

impl Fake {
    /// The recorded calls of `tests/fixtures/rbd-ls-l.txt`.
    pub(crate) fn recorded() -> Self {
        let fake = Self::default();
        for line in include_str!("../tests/fixtures/rbd-ls-l.txt").lines().filter(|l| !l.starts_with('#')) {
            let [pool, name, method, input, output] = *line.split(' ').collect::<Vec<_>>() else {
                panic!("{line}")
            };
            fake.answer(&place(pool.parse().unwrap(), ""), name, method, hex(input), hex(output));
        }
        fake
    }

    pub(crate) fn answer(&self, place: &Place, name: &str, method: &str, input: Vec<u8>, output: Vec<u8>) {
        let mut answers = self.answers.borrow_mut();
        answers.entry(object(place, name)).or_default().insert((method.into(), input), output);
    }

    pub(crate) fn put(&self, place: &Place, name: &str, snap: u64, bytes: &[u8]) {
        self.data.borrow_mut().insert((object(place, name), snap), Bytes::copy_from_slice(bytes));
    }

    /// Makes the header of an image with prefix `rbd_data.ID`, as of `snap`.
    pub(crate) fn add_image(&self, place: &Place, id: &str, snap: u64, spec: &Spec) {
        let encoded = |write: &dyn Fn(&mut Encoder)| {
            let mut encoder = Encoder::new();
            write(&mut encoder);
            encoder.finish()
        };
        let of_snap = snap.to_le_bytes().to_vec();
        let header = format!("rbd_header.{id}");
        let answer = |method: &str, input: Vec<u8>, write: &dyn Fn(&mut Encoder)| {
            self.answer(place, &header, method, input, encoded(write));
        };
        answer("get_size", of_snap.clone(), &|e| {
            e.u8(spec.order).u64(spec.size);
        });
        answer("get_features", [of_snap.clone(), vec![1]].concat(), &|e| {
            e.u64(spec.features).u64(spec.features & 0x883);
        });
        answer("get_flags", of_snap.clone(), &|e| {
            e.u64(spec.flags);
        });
        answer("get_object_prefix", vec![], &|e| {
            e.blob(format!("rbd_data.{id}"));
        });
        answer("get_data_pool", vec![], &|e| {
            e.i64(spec.data_pool);
        });
        answer("parent_get", vec![], &|e| {
            let ((pool, namespace, image, snap), _) = spec.parent.unwrap_or(((-1, "", "", snap::HEAD), 0));
            e.section(1, 1, |body| {
                body.i64(pool).blob(namespace).blob(image).u64(snap);
            });
        });
        answer("parent_overlap_get", of_snap, &|e| {
            e.bool(spec.parent.is_some());
            if let Some((_, overlap)) = spec.parent {
                e.u64(overlap);
            }
        });
        if let Some((unit, count)) = spec.stripes {
            answer("get_stripe_unit_count", vec![], &|e| {
                e.u64(unit).u64(count);
            });
        }
    }

    /// Makes an object map: one state for each object.
    pub(crate) fn add_map(&self, place: &Place, id: &str, snap: u64, states: &[u8]) {
        let mut header = Encoder::new();
        header.section(1, 1, |body| {
            body.u64(states.len() as u64);
        });
        let pack = |four: &[u8]| four.iter().enumerate().fold(0, |byte, (i, s)| byte | s << (6 - 2 * i));
        let packed: Vec<u8> = states.chunks(4).map(pack).collect();
        let mut encoder = Encoder::new();
        encoder.blob(header.finish()).raw(&packed).u32(0);
        let name = match snap {
            snap::HEAD => format!("rbd_object_map.{id}"),
            snap => format!("rbd_object_map.{id}.{snap:016x}"),
        };
        self.answer(place, &name, "object_map_load", vec![], encoder.finish());
    }

    fn exec(
        &self,
        place: &Place,
        name: &str,
        snap: u64,
        op: &Op<Bytes>,
    ) -> Result<Output<Bytes>, RadosError> {
        let key = object(place, name);
        let data = self.data.borrow().get(&(key.clone(), snap)).cloned();
        match op {
            Op::Read(extent) => {
                let data = data.ok_or(RadosError::NotFound)?;
                let start = data.len().min(extent.offset as usize);
                let end = data.len().min(start + extent.length as usize);
                Ok(Output::Payload((start < end).then(|| data.slice(start..end))))
            }
            Op::Stat => data.map(|_| Output::Bytes(vec![0; 16])).ok_or(RadosError::NotFound),
            Op::Call { method, input, .. } => {
                let answers = self.answers.borrow();
                let known = answers.get(&key).ok_or(RadosError::NotFound)?;
                let output = known.get(&(method.clone(), input.clone()));
                output.cloned().map(Output::Bytes).ok_or(RadosError::NotFound)
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
        let results = ops.iter().map(|op| {
            let output = Fake::exec(self, place, object, snap, op)?;
            Ok(OpResult { result: 0, output })
        });
        results.collect()
    }

    fn monotonic_ms(&self) -> u64 {
        self.clock_ms.get()
    }
}
