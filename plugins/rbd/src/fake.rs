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

/// What somebody else does to the cluster.
type Deed = Box<dyn FnOnce(&Fake)>;

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Fake {
    data: RefCell<HashMap<(Object, u64), Bytes>>,
    answers: RefCell<HashMap<Object, Answers>>,
    /// What happens after the next answer about an object whose name begins so.
    deeds: RefCell<Vec<(String, Deed)>>,
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

fn encoded(write: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut encoder = Encoder::new();
    write(&mut encoder);
    encoder.finish()
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

    pub(crate) fn has(&self, place: &Place, name: &str, snap: u64) -> bool {
        self.data.borrow().contains_key(&(object(place, name), snap))
    }

    /// Makes the header of an image with prefix `rbd_data.ID`, as of `snap`.
    pub(crate) fn add_image(&self, place: &Place, id: &str, snap: u64, spec: &Spec) {
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
        answer("get_flags", of_snap, &|e| {
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
        self.set_overlap(place, id, snap, spec.parent.map(|(_, overlap)| overlap));
        if snap != snap::HEAD {
            self.set_purpose(place, id, snap, 0, 0);
        }
        if let Some((unit, count)) = spec.stripes {
            answer("get_stripe_unit_count", vec![], &|e| {
                e.u64(unit).u64(count);
            });
        }
    }

    /// How much is seen through to the parent; `None`: it was flattened.
    pub(crate) fn set_overlap(&self, place: &Place, id: &str, snap: u64, overlap: Option<u64>) {
        let output = encoded(|e| {
            e.bool(overlap.is_some());
            if let Some(overlap) = overlap {
                e.u64(overlap);
            }
        });
        let input = snap.to_le_bytes().to_vec();
        self.answer(place, &format!("rbd_header.{id}"), "parent_overlap_get", input, output);
    }

    /// What a snapshot is for, as a number (2: the trash), and how many clones it counts.
    pub(crate) fn set_purpose(&self, place: &Place, id: &str, snap: u64, purpose: u32, children: u32) {
        let header = object(place, &format!("rbd_header.{id}"));
        let input = snap.to_le_bytes().to_vec();
        let mut answers = self.answers.borrow_mut();
        let answers = answers.get_mut(&header).unwrap();
        // Behind the order.
        let size = answers[&("get_size".into(), input.clone())][1..].to_vec();
        let output = encoded(|e| {
            e.section(1, 1, |body| {
                body.u64(snap).section(1, 1, |namespace| {
                    namespace.u32(purpose);
                });
                body.blob("snapshot").raw(&size).zeros(8).u32(children);
            });
        });
        answers.insert(("snapshot_get".into(), input), output);
    }

    /// `rbd snap rm`, after the OSDs have dropped what only this snapshot had.
    pub(crate) fn remove_snapshot(&self, place: &Place, id: &str, snap: u64) {
        let of_snap = snap.to_le_bytes();
        let header = object(place, &format!("rbd_header.{id}"));
        if let Some(answers) = self.answers.borrow_mut().get_mut(&header) {
            answers.retain(|(_, input), _| !input.starts_with(&of_snap));
        }
        self.drop_objects(place, id, snap);
    }

    /// The objects of a snapshot are gone.
    pub(crate) fn drop_objects(&self, place: &Place, id: &str, snap: u64) {
        let prefix = format!("rbd_data.{id}.");
        let kept = |(pool, namespace, name): &Object, of: u64| {
            (*pool, namespace) != (place.pool, &place.namespace) || !name.starts_with(&prefix) || of != snap
        };
        self.data.borrow_mut().retain(|(object, of), _| kept(object, *of));
    }

    /// The header of an image is gone.
    pub(crate) fn remove_image(&self, place: &Place, id: &str) {
        self.answers.borrow_mut().remove(&object(place, &format!("rbd_header.{id}")));
    }

    /// The id behind a name.
    pub(crate) fn name(&self, place: &Place, name: &str, id: Option<&str>) {
        let name = format!("rbd_id.{name}");
        self.answers.borrow_mut().remove(&object(place, &name));
        if let Some(id) = id {
            let output = encoded(|e| {
                e.blob(id);
            });
            self.answer(place, &name, "get_id", vec![], output);
        }
    }

    /// Does something after the next answer about an object whose name begins so, as if somebody else had done it then. One answer, one
    /// deed.
    pub(crate) fn after(&self, object: &str, deed: impl FnOnce(&Self) + 'static) {
        self.deeds.borrow_mut().push((object.into(), Box::new(deed)));
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
        let results = results.collect();
        let due = self.deeds.borrow().iter().position(|(of, _)| object.starts_with(of));
        if let Some(due) = due {
            let (_, deed) = self.deeds.borrow_mut().remove(due);
            deed(self);
        }
        results
    }

    fn monotonic_ms(&self) -> u64 {
        self.clock_ms.get()
    }
}
