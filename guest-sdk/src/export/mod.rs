//! Between the traits an author implements and the functions the component exports.
//!
//! A component is single-threaded and serves one mount, so the open store is one `Rc` in a thread-local slot. Each call takes
//! its own reference before it awaits: nothing stays borrowed while calls interleave.

pub(crate) mod blocks;
pub(crate) mod fence;
pub(crate) mod files;
pub(crate) mod objects;

use crate::{Error, Result};
use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

thread_local!(static STORE: Slot = const { Slot::new() });

/// The open store, which must be of this type: a component has one.
fn store<T: Any>() -> Result<Rc<T>> {
    STORE.with(Slot::get::<T>)
}

/// The `lifecycle` exports of `$exports<T>`, a `T` of whichever kind: the kinds' traits have the same functions for it.
macro_rules! export_lifecycle {
    ($exports:ident, $kind:ident) => {
        impl<T: $kind> $crate::bindings::exports::wasmount::plugin::lifecycle::Guest for $exports<T> {
            fn describe() -> $crate::Description {
                $crate::panic::install();
                T::describe()
            }

            async fn open(
                mount: $crate::bindings::exports::wasmount::plugin::lifecycle::Mount,
            ) -> $crate::Result<$crate::bindings::exports::wasmount::plugin::lifecycle::Info> {
                $crate::panic::install();
                let (store, info) = T::open($crate::Mount::new(mount)).await?;
                $crate::export::fill(store);
                Ok(info.into_wire())
            }

            async fn check() -> $crate::Result<()> {
                $crate::export::store::<T>()?.check().await
            }

            async fn export_state() -> $crate::Result<Option<$crate::SavedState>> {
                let state = $crate::export::store::<T>()?.export_state().await?;
                $crate::export::clear();
                Ok(state)
            }

            async fn close() -> $crate::Result<()> {
                let store = $crate::export::store::<T>()?;
                $crate::export::clear();
                store.close().await
            }
        }
    };
}
use export_lifecycle;

fn fill(store: impl Any) {
    STORE.with(|slot| slot.fill(store));
}

fn clear() {
    STORE.with(Slot::clear);
}

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
