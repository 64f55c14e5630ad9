//! What is agreed with the kernel at the start (`fuse_init_out` of its `fuse.h`).
//!
//! fuser 0.18 answers INIT without the field in which a server asks the kernel to end a connection that does not answer
//! ([`crate::patience`] says why we want that). So where the kernel offers it, INIT is answered here, from within fuser's
//! own handshake, when everything is settled. fuser's answer comes too late then: the kernel refuses it, as an answer to no
//! request (ENOENT), and fuser goes on, because an answer that nobody waits for any more is ordinary. Whatever
//! fuser would have said is said, so both agree about the connection.

use crate::device::{Device, EPOCH_MINOR};
use crate::options::MountOptions;
use crate::passthrough::{NoPassthrough, Passthrough};
use fuser::{InitFlags, KernelConfig};
use std::io;
use std::num::NonZeroU16;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Read-ahead requests the kernel may have in flight. Its default with fuser is 16, too few for a remote store.
const MAX_BACKGROUND: u16 = 128;

/// In-flight requests at which it begins to leave read-ahead out.
const CONGESTION_THRESHOLD: u16 = MAX_BACKGROUND / 4 * 3;

/// Largest READ in bytes, unless more is read ahead at a time. A kernel with a lower `fs.fuse.max_pages_limit` (which is
/// 1 MiB unless the operator raised it) takes that.
pub(crate) const MAX_READ: u32 = 1 << 20;

/// fuser's largest.
const MOST_READ: u32 = 16 << 20;

/// File systems that may be stacked, this mount included: 2 lets the local files of passthrough lie on an overlay, such as a
/// container's own root. The price is that no overlay can be laid over this mount, since the kernel stacks no higher.
const STACK_DEPTH: u32 = 2;

/// Version of the protocol that fuser speaks. The kernel adapts its messages to it.
const MAJOR: u32 = 7;
const MINOR: u32 = 40;

/// What every answer of fuser includes.
const ALWAYS: InitFlags = InitFlags::FUSE_ASYNC_READ.union(InitFlags::FUSE_BIG_WRITES);

/// What is taken where the kernel has it. An older one lacks some: it works without.
const WANTED: [InitFlags; 7] = [
    // READs larger than 128 KiB.
    InitFlags::FUSE_MAX_PAGES,
    // Attributes come with the listing at no cost, so one pass serves `ls -l`.
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_ASYNC_DIO,
    // Pages stay until they are dropped from here, whatever becomes of attributes: a node stands for one version, or its
    // file system says when it changes.
    InitFlags::FUSE_EXPLICIT_INVAL_DATA,
    // A file of which the kernel keeps nothing can be mapped all the same.
    InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
    // Where a symbolic link leads never changes in the life of its node.
    InitFlags::FUSE_CACHE_SYMLINKS,
];

/// What of the options matters here.
pub(crate) struct Init {
    passthrough: bool,
    max_read: u32,
    /// Seconds after which the kernel is asked to end a connection that does not answer.
    patience: Option<NonZeroU16>,
}

/// What came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Negotiated {
    /// Whether the kernel will take files to read by itself.
    pub(crate) passthrough: Passthrough,
    /// Whether it was asked to end the connection when it does not answer.
    pub(crate) asked_patience: bool,
    /// Whether it knows the message that makes it ask for every name again.
    pub(crate) has_epochs: bool,
}

impl Init {
    pub(crate) fn new(options: &MountOptions, patience: Option<NonZeroU16>) -> Self {
        let max_read = options.read_ahead_kib.saturating_mul(1024).clamp(MAX_READ, MOST_READ);
        Self { passthrough: options.passthrough, max_read, patience }
    }
}

/// The beginning of a session: what is wanted, and what came out.
pub(crate) struct Handshake {
    init: Init,
    /// Held until INIT has been answered.
    device: Mutex<Option<Device>>,
    agreed: OnceLock<Negotiated>,
}

impl Handshake {
    pub(crate) fn new(init: Init, device: Device) -> Self {
        Self { init, device: Mutex::new(Some(device)), agreed: OnceLock::new() }
    }

    /// Settles INIT, request number `request` of the kernel. Called by fuser, before it answers.
    ///
    /// # Errors
    /// When the kernel does not take the answer.
    pub(crate) fn init(&self, config: &mut KernelConfig, request: u64) -> io::Result<()> {
        let device = self.device.lock().unwrap_or_else(PoisonError::into_inner).take();
        let device = device.ok_or_else(|| io::Error::other("the kernel sent INIT twice"))?;
        // The kernel sends it once in the life of a connection.
        let _ = self.agreed.set(negotiate(config, &self.init, request, &device)?);
        Ok(())
    }

    /// What came out of it.
    pub(crate) fn agreed(&self) -> Option<Negotiated> {
        self.agreed.get().copied()
    }
}

/// Settles INIT, request number `request` of the kernel, and answers it on `device` if fuser cannot.
///
/// # Errors
/// When the kernel does not take the answer.
fn negotiate(
    config: &mut KernelConfig,
    init: &Init,
    request: u64,
    device: &Device,
) -> io::Result<Negotiated> {
    let offered = config.capabilities();
    let mut answer = Answer::new(offered, init, config.set_max_readahead(u32::MAX).err().unwrap_or(u32::MAX));
    let has_epochs = config.kernel_abi().1 >= EPOCH_MINOR;

    // Each setter says what it would have taken instead.
    let _ = config.set_max_readahead(answer.max_readahead);
    // Its name aside, this is how INIT's `max_pages` is set, which bounds READs too.
    let _ = config.set_max_write(answer.max_write);
    let _ = config.set_max_background(MAX_BACKGROUND);
    let _ = config.set_congestion_threshold(CONGESTION_THRESHOLD);
    let _ = config.add_capabilities(answer.flags & offered & !InitFlags::FUSE_REQUEST_TIMEOUT);
    if config.set_max_stack_depth(answer.max_stack_depth).is_err() {
        answer.no_passthrough();
    }
    let passthrough = match (init.passthrough, answer.flags.contains(InitFlags::FUSE_PASSTHROUGH)) {
        (false, _) => Passthrough::Off(NoPassthrough::Disabled),
        (true, false) => Passthrough::Off(NoPassthrough::Kernel),
        (true, true) => Passthrough::On,
    };
    if answer.patience > 0 {
        device.reply(request, &answer.encode())?;
    }
    Ok(Negotiated { passthrough, asked_patience: answer.patience > 0, has_epochs })
}

/// `struct fuse_init_out`.
#[derive(Debug)]
struct Answer {
    max_readahead: u32,
    flags: InitFlags,
    max_write: u32,
    max_stack_depth: u32,
    /// Seconds; 0: not asked.
    patience: u16,
}

impl Answer {
    fn new(offered: InitFlags, init: &Init, max_readahead: u32) -> Self {
        let mut flags =
            WANTED.into_iter().filter(|wanted| offered.contains(*wanted)).fold(ALWAYS, |all, one| all | one);
        let mut max_stack_depth = 0;
        // Never together with the write-back cache.
        if init.passthrough && offered.contains(InitFlags::FUSE_PASSTHROUGH) {
            flags |= InitFlags::FUSE_PASSTHROUGH;
            max_stack_depth = STACK_DEPTH;
        }
        let patience = match init.patience {
            Some(seconds) if offered.contains(InitFlags::FUSE_REQUEST_TIMEOUT) => seconds.get(),
            _ => 0,
        };
        if patience > 0 {
            flags |= InitFlags::FUSE_REQUEST_TIMEOUT;
        }
        Self { max_readahead, flags, max_write: init.max_read, max_stack_depth, patience }
    }

    fn no_passthrough(&mut self) {
        self.flags.remove(InitFlags::FUSE_PASSTHROUGH);
        self.max_stack_depth = 0;
    }

    fn encode(&self) -> [u8; 64] {
        // The upper half of the flags counts only with this one.
        let flags = (self.flags | InitFlags::FUSE_INIT_EXT).bits();
        let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
        let max_pages = self.max_write.max(self.max_readahead).div_ceil(page);
        let mut out = [0; 64];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&MAJOR.to_ne_bytes());
        put(&MINOR.to_ne_bytes());
        put(&self.max_readahead.to_ne_bytes());
        put(&((flags & u64::from(u32::MAX)) as u32).to_ne_bytes());
        put(&MAX_BACKGROUND.to_ne_bytes());
        put(&CONGESTION_THRESHOLD.to_ne_bytes());
        put(&self.max_write.to_ne_bytes());
        // Times are exact to the nanosecond.
        put(&1_u32.to_ne_bytes());
        put(&u16::try_from(max_pages).unwrap_or(u16::MAX).to_ne_bytes());
        // No mappings, so no alignment.
        put(&0_u16.to_ne_bytes());
        put(&((flags >> 32) as u32).to_ne_bytes());
        put(&self.max_stack_depth.to_ne_bytes());
        put(&self.patience.to_ne_bytes());
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    fn init(passthrough: bool, patience: u16) -> Init {
        Init { passthrough, max_read: MAX_READ, patience: NonZeroU16::new(patience) }
    }

    #[test]
    fn nothing_is_taken_that_was_not_offered() {
        let offered = InitFlags::FUSE_MAX_PAGES | InitFlags::FUSE_WRITEBACK_CACHE;
        let answer = Answer::new(offered, &init(true, 300), 1 << 17);
        assert_eq!(answer.flags, ALWAYS | InitFlags::FUSE_MAX_PAGES);
        assert_eq!((answer.max_stack_depth, answer.patience), (0, 0));
        let answer = Answer::new(InitFlags::all(), &init(false, 0), 1 << 17);
        assert!(!answer.flags.intersects(InitFlags::FUSE_PASSTHROUGH | InitFlags::FUSE_REQUEST_TIMEOUT));
        assert!(!answer.flags.contains(InitFlags::FUSE_WRITEBACK_CACHE));
    }

    #[test]
    fn the_answer_is_laid_out_as_the_kernel_reads_it() {
        let answer = Answer::new(InitFlags::all(), &init(true, 300), 1 << 17);
        let out = answer.encode();
        let word = |at: usize| u32::from_ne_bytes(out[at..at + 4].try_into().unwrap());
        let half = |at: usize| u16::from_ne_bytes(out[at..at + 2].try_into().unwrap());
        assert_eq!((word(0), word(4), word(8)), (7, 40, 1 << 17));
        assert_ne!(
            word(12) & (1 << 30),
            0,
            "FUSE_INIT_EXT, without which the other half of the flags is not read"
        );
        assert_ne!(word(12) & (1 << 13), 0, "FUSE_DO_READDIRPLUS");
        assert_eq!((half(16), half(18), word(20), word(24)), (128, 96, 1 << 20, 1));
        assert_eq!((half(28), half(30)), ((1_usize << 20).div_ceil(rustix::param::page_size()) as u16, 0));
        assert_ne!(word(32) & (1 << (37 - 32)), 0, "FUSE_PASSTHROUGH");
        assert_ne!(word(32) & (1 << (42 - 32)), 0, "FUSE_REQUEST_TIMEOUT");
        assert_eq!((word(36), half(40)), (2, 300));
        assert!(out[42..].iter().all(|byte| *byte == 0));
    }
}
