//! What is agreed with the kernel at the start (`fuse_init_out` of its `fuse.h`).

use crate::options::MountOptions;
use crate::passthrough::{NoPassthrough, Passthrough};
use fuser::{InitFlags, KernelConfig};

/// Read-ahead requests the kernel may have in flight. Its default with fuser is 16, too few for a remote store.
const MAX_BACKGROUND: u16 = 128;

/// Largest READ in bytes, unless more is read ahead at a time. A kernel with a lower `fs.fuse.max_pages_limit` (which is
/// 1 MiB unless the operator raised it) takes that.
const MAX_READ: u32 = 1 << 20;

/// fuser's largest.
const MOST_READ: u32 = 16 << 20;

/// File systems that may be stacked, this mount included: 2 lets the local files of passthrough lie on an overlay, such as a
/// container's own root. The price is that no overlay can be laid over this mount, since the kernel stacks no higher.
const STACK_DEPTH: u32 = 2;

/// What of the options matters here.
pub(crate) struct Init {
    passthrough: bool,
    max_read: u32,
}

impl Init {
    pub(crate) fn new(options: &MountOptions) -> Self {
        let max_read = options.read_ahead_kib.saturating_mul(1024).clamp(MAX_READ, MOST_READ);
        Self { passthrough: options.passthrough, max_read }
    }
}

/// Answers INIT. Returns whether the kernel will take files to read by itself.
pub(crate) fn negotiate(config: &mut KernelConfig, init: &Init) -> Passthrough {
    // Each setter says what it would have taken instead.
    if let Err(most) = config.set_max_readahead(u32::MAX) {
        let _ = config.set_max_readahead(most);
    }
    // Its name aside, this is how INIT's `max_pages` is set, which bounds READs too.
    let _ = config.set_max_write(init.max_read);
    let _ = config.set_max_background(MAX_BACKGROUND);
    let _ = config.set_congestion_threshold(MAX_BACKGROUND / 4 * 3);
    for wanted in [
        // Attributes come with the listing at no cost, so one pass serves `ls -l`.
        InitFlags::FUSE_DO_READDIRPLUS,
        InitFlags::FUSE_PARALLEL_DIROPS,
        InitFlags::FUSE_ASYNC_DIO,
        // A node stands for one version, so its pages never get old.
        InitFlags::FUSE_EXPLICIT_INVAL_DATA,
    ] {
        // An older kernel lacks some: it works without.
        let _ = config.add_capabilities(wanted);
    }
    if !init.passthrough {
        return Passthrough::Off(NoPassthrough::Disabled);
    }
    // Never together with the write-back cache.
    if config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_err()
        || config.set_max_stack_depth(STACK_DEPTH).is_err()
    {
        return Passthrough::Off(NoPassthrough::Kernel);
    }
    Passthrough::On
}
