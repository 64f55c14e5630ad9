//! Names to addresses.

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Turns names into addresses; replaced in tests and by hosts with resolvers of their own.
///
/// Asked once per connection; what it answers is checked by the reach policy and then connected to, never
/// resolved a second time.
pub trait Resolver: Send + Sync + 'static {
    /// Addresses of `host`, in order of preference. Called on the client's runtime.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The system's resolver (`getaddrinfo`).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// A lookup that takes longer does not keep others from asking again.
const LONGEST_LOOKUP: Duration = Duration::from_secs(30);

type Answer = Result<Vec<SocketAddr>, Arc<io::Error>>;
type Lookup = Shared<BoxFuture<'static, Answer>>;

/// Asks once for all who want the same name at the same time.
///
/// `getaddrinfo` holds a thread until the name server answers, whoever has given up waiting meanwhile. A name whose server
/// is silent would otherwise take a thread for every request, until no mount can resolve anything.
pub(crate) struct Lookups {
    resolver: Arc<dyn Resolver>,
    under_way: Arc<Mutex<HashMap<(String, u16), Lookup>>>,
}

impl Lookups {
    pub(crate) fn new(resolver: Arc<dyn Resolver>) -> Self {
        Self { resolver, under_way: Arc::default() }
    }

    fn lookup(&self, host: &str, port: u16) -> Lookup {
        let key = (host.to_ascii_lowercase(), port);
        let mut under_way = locked(&self.under_way);
        if let Some(lookup) = under_way.get(&key) {
            return lookup.clone();
        }
        let (resolver, all, mine) = (Arc::clone(&self.resolver), Arc::clone(&self.under_way), key.clone());
        // A task of its own: it goes on when those who wait leave, and is found by those who come.
        let task = tokio::spawn(async move {
            let _end = Ended { all, key: mine.clone() };
            match tokio::time::timeout(LONGEST_LOOKUP, resolver.resolve(&mine.0, port)).await {
                Ok(answer) => answer.map_err(Arc::new),
                Err(late) => Err(Arc::new(late.into())),
            }
        });
        let lookup = async { task.await.unwrap_or_else(|stopped| Err(Arc::new(io::Error::other(stopped)))) };
        let lookup = lookup.boxed().shared();
        under_way.insert(key, lookup.clone());
        lookup
    }
}

impl Resolver for Lookups {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let lookup = self.lookup(host, port);
        Box::pin(async move { lookup.await.map_err(|error| io::Error::new(error.kind(), error)) })
    }
}

/// Takes a lookup off the list, however it ends.
struct Ended {
    all: Arc<Mutex<HashMap<(String, u16), Lookup>>>,
    key: (String, u16),
}

impl Drop for Ended {
    fn drop(&mut self) {
        locked(&self.all).remove(&self.key);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Notify;

    #[derive(Default)]
    struct Slow {
        asked: AtomicUsize,
        go: Notify,
    }

    impl Resolver for Slow {
        fn resolve<'a>(&'a self, host: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
            Box::pin(async move {
                self.asked.fetch_add(1, Ordering::SeqCst);
                self.go.notified().await;
                if host == "bad" { Err(io::Error::other("no such host")) } else { Ok(vec![]) }
            })
        }
    }

    #[tokio::test]
    async fn one_question_at_a_time_for_each_name() {
        let slow = Arc::new(Slow::default());
        let lookups = Lookups::new(Arc::clone(&slow) as Arc<dyn Resolver>);
        // Callers that give up take no thread with them, and those who come later wait for the same answer.
        for _ in 0..20 {
            let patience = Duration::from_millis(1);
            assert!(tokio::time::timeout(patience, lookups.resolve("n", 1)).await.is_err());
        }
        let both = async { tokio::join!(lookups.resolve("n", 1), lookups.resolve("N", 1)) };
        let answer = async {
            tokio::task::yield_now().await;
            slow.go.notify_one();
        };
        let ((one, two), ()) = tokio::join!(both, answer);
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(slow.asked.load(Ordering::SeqCst), 1);
        // An answer is not kept: the next connection asks again.
        slow.go.notify_one();
        assert!(lookups.resolve("bad", 1).await.unwrap_err().to_string().contains("no such host"));
        slow.go.notify_one();
        assert!(lookups.resolve("n", 1).await.is_ok());
        assert_eq!(slow.asked.load(Ordering::SeqCst), 3);
        assert!(locked(&lookups.under_way).is_empty());
    }
}
