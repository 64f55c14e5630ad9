//! Between the traits an author implements and the functions the component exports.
//!
//! A component is single-threaded and serves one mount, so the open store is one `Rc` in a thread-local slot. Each call takes
//! its own reference before it awaits: nothing stays borrowed while calls interleave.

pub(crate) mod blocks;
pub(crate) mod objects;

use crate::{Error, Result};
use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

/// Where the open store is.
struct Slot(RefCell<Option<Rc<dyn Any>>>);

impl Slot {
    const fn new() -> Self {
        Self(RefCell::new(None))
    }

    fn fill(&self, store: impl Any) {
        self.0.replace(Some(Rc::new(store)));
    }

    fn clear(&self) {
        self.0.replace(None);
    }

    fn get<T: Any>(&self) -> Result<Rc<T>> {
        let store = self.0.borrow().clone();
        store
            .and_then(|store| store.downcast::<T>().ok())
            .ok_or_else(|| Error::invalid("the mount is not open"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_there_between_open_and_close() {
        let slot = Slot::new();
        assert!(slot.get::<u8>().is_err());
        slot.fill(7_u8);
        assert_eq!(*slot.get::<u8>().unwrap(), 7);
        assert!(slot.get::<u16>().is_err());
        let held = slot.get::<u8>().unwrap();
        slot.clear();
        assert!(slot.get::<u8>().is_err());
        assert_eq!(*held, 7, "a call that has begun keeps its store");
    }
}
