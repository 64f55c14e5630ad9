//! Drives a [`Rotation`]: one fetch at a time, in the background as long as there are credentials to use.

use super::issued::{Fetched, Issued};
use super::rotation::{Moment, Note, Rotation};
use futures::channel::oneshot;
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;
use wasmount_sdk::retry::{Environment as _, HostEnvironment};
use wasmount_sdk::{Error, Result, log, system, task};

/// Most fetches that one request sees come to nothing because the calls that they were made for were given up.
const ROUNDS: usize = 16;

/// Who issues temporary credentials.
pub trait Source: 'static {
    /// Asks for credentials.
    ///
    /// # Errors
    /// Worth repeating by its advice: the service cannot be reached or has a problem. Otherwise it refuses, and an option has to be changed.
    fn fetch(&self) -> impl Future<Output = Result<Fetched>>;
}

/// What the driver needs besides: replaced in tests.
pub trait Surroundings: 'static {
    /// The time.
    fn now(&self) -> Moment;
    /// A random number.
    fn random(&self) -> u32;
    /// Runs `work` in the background.
    fn spawn(&self, work: impl Future<Output = ()> + 'static);
    /// Waits for something inside the plugin, until the host gives the call up.
    fn wait<T>(&self, work: impl Future<Output = Result<T>>) -> impl Future<Output = Result<T>>;
    /// Tells the administrator.
    fn tell(&self, note: Note);
}

/// The host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Host;

impl Surroundings for Host {
    fn now(&self) -> Moment {
        Moment { unix: system::now().seconds, monotonic_ms: system::monotonic_ms() }
    }

    fn random(&self) -> u32 {
        HostEnvironment.random()
    }

    fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        task::spawn(work);
    }

    async fn wait<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        task::until_given_up(work).await
    }

    fn tell(&self, note: Note) {
        match note {
            Note::None => {}
            Note::Failing(sentence) => log::warn(&sentence),
            Note::Recovered => log::info("temporary credentials are renewed again"),
        }
    }
}

/// Temporary credentials that are renewed as long as the mount is used. Cheap to clone.
pub struct Rotating<S, E = Host>(Rc<Inner<S, E>>);

struct Inner<S, E> {
    source: S,
    surroundings: E,
    rotation: RefCell<Rotation>,
    /// Who waits for the end of the fetch under way.
    waiting: RefCell<Vec<oneshot::Sender<()>>>,
}

impl<S, E> Clone for Rotating<S, E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S, E> fmt::Debug for Rotating<S, E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Rotating").field("rotation", &self.0.rotation).finish_non_exhaustive()
    }
}

impl<S: Source, E: Surroundings> Rotating<S, E> {
    /// Credentials of this source, none so far.
    pub fn new(source: S, surroundings: E) -> Self {
        let (rotation, waiting) = (RefCell::default(), RefCell::default());
        Self(Rc::new(Inner { source, surroundings, rotation, waiting }))
    }

    /// Credentials to sign a request with. Waits only when there are no valid ones.
    ///
    /// # Errors
    /// What the source said last; `interrupted`.
    pub async fn current(&self) -> Result<Rc<Issued>> {
        for _ in 0..ROUNDS {
            let now = self.0.surroundings.now();
            if self.0.rotation.borrow().is_due(now) {
                self.begin();
            }
            let (usable, fetching) = {
                let rotation = self.0.rotation.borrow();
                (rotation.usable(now), rotation.is_fetching())
            };
            match usable {
                Some(issued) => return Ok(issued),
                None if fetching => self.settled().await?,
                None => return Err(self.0.rotation.borrow().unavailable(now)),
            }
        }
        Err(Error::unavailable("temporary credentials: each attempt to get them was given up"))
    }

    /// Others than these, which the store has refused or (not `certain`) may have; `None` if there are no others.
    ///
    /// # Errors
    /// Why there are none, if that may change; `interrupted`.
    pub async fn renewed(&self, refused: &Issued, certain: bool) -> Result<Option<Rc<Issued>>> {
        let others = || {
            let usable = self.0.rotation.borrow().usable(self.0.surroundings.now());
            usable.filter(|issued| issued.generation != refused.generation)
        };
        if let Some(issued) = others() {
            return Ok(Some(issued));
        }
        let replace = self.0.rotation.borrow().may_replace(self.0.surroundings.now(), certain)?;
        if replace {
            self.begin();
        }
        if self.0.rotation.borrow().is_fetching() {
            self.settled().await?;
            if others().is_none() {
                // What kept the service from issuing any.
                self.0.rotation.borrow().may_replace(self.0.surroundings.now(), certain)?;
            }
        }
        Ok(others())
    }

    fn begin(&self) {
        self.0.rotation.borrow_mut().begin();
        let inner = self.0.clone();
        self.0.surroundings.spawn(async move {
            let outcome = inner.source.fetch().await;
            let (now, random) = (inner.surroundings.now(), inner.surroundings.random());
            let note = inner.rotation.borrow_mut().end(outcome, now, random);
            for waiting in inner.waiting.take() {
                // It may have been given up meanwhile.
                let _ = waiting.send(());
            }
            inner.surroundings.tell(note);
        });
    }

    /// Waits for the end of the fetch under way.
    async fn settled(&self) -> Result<()> {
        let (done, end) = oneshot::channel();
        self.0.waiting.borrow_mut().push(done);
        let end = async {
            end.await.map_err(|_| Error::unavailable("temporary credentials: the fetch has vanished"))
        };
        self.0.surroundings.wait(end).await
    }
}

/// How long one fetch tries: a short hiccup is none of the rotation's concern.
pub(super) const ATTEMPTS: wasmount_sdk::retry::Policy = wasmount_sdk::retry::Policy {
    attempts: 3,
    first_wait: Duration::from_millis(100),
    longest_wait: Duration::from_secs(1),
    budget: Duration::from_secs(5),
};

#[cfg(test)]
#[path = "rotating_tests.rs"]
mod tests;
