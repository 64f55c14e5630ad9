//! One plugin instance serves many reads at once; the server is the witness.

use std::sync::{Arc, Barrier, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use wasmount_tests::bounded::{SOON, names};
use wasmount_tests::mount::Launch;
use wasmount_tests::scripted::Server;
use wasmount_tests::scripted::bucket::Buckets;

const READERS: usize = 64;
/// How long the server holds a read back, at most, for the others to arrive.
const PATIENCE: Duration = Duration::from_secs(20);

/// Delays each answer until all readers' requests are there: the most direct way to see them in flight at once.
#[derive(Default)]
struct Gate {
    /// How many reads are held now, and the most so far.
    state: Mutex<(usize, usize)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.lock();
        state.0 += 1;
        state.1 = state.1.max(state.0);
        self.changed.notify_all();
        while state.1 < READERS {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.0 -= 1;
    }

    fn lock(&self) -> MutexGuard<'_, (usize, usize)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn most(&self) -> usize {
        self.lock().1
    }
}

#[test]
fn sixty_four_reads_are_in_flight_at_once() -> Result<()> {
    let buckets = Buckets::new();
    for index in 0..READERS {
        buckets.put("b", &format!("file-{index:02}"), vec![u8::try_from(index)?; 64 * 1024]);
    }
    let gate = Arc::new(Gate::default());
    let server = {
        let gate = Arc::clone(&gate);
        Server::start(move |request| {
            if request.method == "GET" && request.path.contains("file-") {
                gate.pass();
            }
            buckets.answer(request)
        })?
    };
    let scratch = tempfile::Builder::new().prefix("wasmount-test-").tempdir()?;
    let mount = Launch::mount("s3://b", &scratch.path().join("mnt"), scratch.path())?
        .option("endpoint", &server.endpoint())
        .option("anonymous", "true")
        .start()?;
    assert_eq!(names(mount.target())??.len(), READERS);
    server.reset();

    let together = Arc::new(Barrier::new(READERS));
    let readers: Vec<_> = (0..READERS)
        .map(|index| {
            let (together, path) = (Arc::clone(&together), mount.path(&format!("file-{index:02}")));
            std::thread::spawn(move || -> Result<bool> {
                together.wait();
                Ok(std::fs::read(path)? == vec![u8::try_from(index)?; 64 * 1024])
            })
        })
        .collect();
    let deadline = Instant::now() + PATIENCE + SOON;
    for reader in readers {
        while !reader.is_finished() {
            assert!(Instant::now() < deadline, "a reader hangs; the server saw {} at once", gate.most());
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(reader.join().expect("a reader panicked")?, "a reader got other bytes");
    }
    assert!(gate.most() >= READERS, "the server never held more than {} reads at once", gate.most());
    assert!(server.max_in_flight() >= READERS);
    Ok(())
}
