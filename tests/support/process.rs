//! Child processes that cannot outlive the test, and what they have printed.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Ids and command lines of all processes that name this path, or one below it.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn processes_that_name(path: &Path) -> Result<Vec<(Pid, Vec<String>)>> {
    let named = path.to_string_lossy();
    let found = |entry: std::fs::DirEntry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        // What ends meanwhile has none.
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line);
        // Each word ends with a NUL, an empty one too.
        let words: Vec<_> = line.split_terminator('\0').map(str::to_owned).collect();
        words.iter().any(|word| word.contains(&*named)).then_some((pid, words))
    };
    Ok(std::fs::read_dir("/proc")?.flatten().filter_map(found).collect())
}

/// Everything a process has written to its standard output and standard error so far.
#[derive(Debug, Clone, Default)]
pub struct Log {
    shared: Arc<(Mutex<Written>, Condvar)>,
}

#[derive(Debug, Default)]
struct Written {
    text: String,
    /// Pipes that have not been read to their end.
    open: usize,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Written> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text so far.
    pub fn text(&self) -> String {
        self.lock().text.clone()
    }

    /// The lines so far that contain every one of `parts`, ignoring case.
    pub fn lines_with(&self, parts: &[&str]) -> Vec<String> {
        let parts: Vec<_> = parts.iter().map(|part| part.to_lowercase()).collect();
        let text = self.text();
        let matching = text.lines().filter(|line| {
            let line = line.to_lowercase();
            parts.iter().all(|part| line.contains(part))
        });
        matching.map(str::to_owned).collect()
    }

    /// Waits for a line that contains every one of `parts`, ignoring case, and returns it.
    ///
    /// # Errors
    /// When none comes within `bound`; the message carries the whole log.
    pub fn wait_for(&self, parts: &[&str], bound: Duration) -> Result<String> {
        let start = Instant::now();
        loop {
            if let Some(line) = self.lines_with(parts).into_iter().next() {
                return Ok(line);
            }
            if start.elapsed() > bound {
                bail!("no line of the log names {parts:?} within {bound:?}; the log:\n{}", self.text());
            }
            drop(self.shared.1.wait_timeout(self.lock(), Duration::from_millis(100)));
        }
    }

    fn follow(&self, mut from: impl Read + Send + 'static) {
        self.lock().open += 1;
        let log = self.clone();
        std::thread::spawn(move || {
            let mut chunk = [0_u8; 8192];
            while let Ok(len) = from.read(&mut chunk) {
                let Some(bytes) = chunk.get(..len).filter(|bytes| !bytes.is_empty()) else { break };
                log.lock().text.push_str(&String::from_utf8_lossy(bytes));
                log.shared.1.notify_all();
            }
            log.lock().open -= 1;
            log.shared.1.notify_all();
        });
    }

    /// Waits until all that an ended process has written is here. Whoever inherited its pipes may hold them open, so not for long.
    fn drained(&self) {
        let open = |written: &mut Written| written.open > 0;
        drop(self.shared.1.wait_timeout_while(self.lock(), Duration::from_secs(3), open));
    }
}

/// A running program: killed at the latest when this is dropped, or when the thread that started it ends.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    status: Option<ExitStatus>,
    /// What it printed.
    pub log: Log,
}

impl Process {
    /// Starts `program` with what `prepare` adds to the command.
    ///
    /// It runs under `setpriv --pdeathsig`, which keeps the process id and has the kernel end the program when
    /// the *thread* that started it ends, even if the whole test is killed. So start it on the test's own thread.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub fn start(program: &Path, prepare: impl FnOnce(&mut Command)) -> Result<Self> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM"]).arg(program);
        prepare(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
        let log = Log::default();
        if let Some(out) = child.stdout.take() {
            log.follow(out);
        }
        if let Some(err) = child.stderr.take() {
            log.follow(err);
        }
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { child, name, status: None, log })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal. A process that has ended is left alone.
    pub fn signal(&self, signal: Signal) {
        if self.status.is_none()
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            // It may end on its own at this moment: nothing to be done about it, nothing lost.
            let _ = kill_process(pid, signal);
        }
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
            if self.status.is_some() {
                self.log.drained();
            }
        }
        self.status
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `bound`; the message carries its log.
    pub fn wait(&mut self, bound: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if start.elapsed() > bound {
                bail!("{} still runs after {bound:?}; its log:\n{}", self.name, self.log.text());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGTERM, a wait of at most `bound`, then SIGKILL. Returns the status when it ended by itself in time.
    pub fn stop(&mut self, bound: Duration) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        if let Ok(status) = self.wait(bound) {
            return Some(status);
        }
        self.kill();
        None
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        if self.status.is_none() {
            self.status = self.child.wait().ok();
            self.log.drained();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(10));
    }
}
