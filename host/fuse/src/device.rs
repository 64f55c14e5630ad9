//! Messages that this crate writes to `/dev/fuse` by itself: fuser has no way to send them, or none that fits.
//!
//! Layouts and numbers are those of the kernel's `include/uapi/linux/fuse.h`; everything is in the machine's byte order.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::OwnedFd;
use wasmount_pipe::Pipe;
use wasmount_types::{Ino, Name};

/// `enum fuse_notify_code`.
const NOTIFY_INVAL_INODE: i32 = 2;
const NOTIFY_INVAL_ENTRY: i32 = 3;
const NOTIFY_STORE: i32 = 4;
const NOTIFY_INC_EPOCH: i32 = 8;

/// First minor version of the protocol with `FUSE_NOTIFY_INC_EPOCH` (Linux 6.16).
pub(crate) const EPOCH_MINOR: u32 = 44;

/// A descriptor of the connection to the kernel. While one is open, the kernel goes on waiting for answers.
pub(crate) struct Device(OwnedFd);

impl Device {
    /// Bytes of a `struct fuse_out_header`: length of the whole message, error or code, request.
    pub(crate) const HEADER: usize = 16;

    pub(crate) fn new(connection: OwnedFd) -> Self {
        Self(connection)
    }

    /// Answers a request with these bytes.
    pub(crate) fn reply(&self, request: u64, body: &[u8]) -> io::Result<()> {
        self.write(0, request, &[body])
    }

    /// Answers a request with all that is in `body`, put together in `message`, which is empty.
    ///
    /// # Errors
    /// `StorageFull`: nothing was sent. `NotFound`: nobody waits for the answer. What else the kernel says. What it has not taken is in `message`, behind the
    /// header, and in `body`.
    pub(crate) fn reply_piped(&self, request: u64, message: &mut Pipe, body: &mut Pipe) -> io::Result<()> {
        message.push(&header(0, request, body.len())?)?;
        body.move_to(message)?;
        message.send_to(&self.0)
    }

    /// Puts bytes into the page cache. Waits for the locks of their pages, which READs hold that have not been answered. Whether
    /// the kernel knows the node.
    pub(crate) fn store(&self, ino: Ino, offset: u64, bytes: &[u8]) -> io::Result<bool> {
        let size = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        // `fuse_notify_store_out`: node, offset, size, padding.
        let mut body = [0; 24];
        body[..8].copy_from_slice(&ino.0.to_ne_bytes());
        body[8..16].copy_from_slice(&offset.to_ne_bytes());
        body[16..20].copy_from_slice(&size.to_ne_bytes());
        known(self.write(NOTIFY_STORE, 0, &[&body, bytes]))
    }

    /// Drops attributes and pages of a node, those of a range or all. Waits for the locks of the pages, like
    /// [`store`](Self::store). For a directory, its pages are its cached listing. Whether the kernel knows the node.
    pub(crate) fn drop_pages(&self, ino: Ino, range: Option<Range<u64>>) -> io::Result<bool> {
        // Nothing lies beyond what the kernel's signed offsets can name.
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        match range {
            // A length of 0 is up to the end.
            None => self.inval_inode(ino, 0, 0),
            Some(range) if range.is_empty() => self.drop_attributes(ino),
            Some(range) => self.inval_inode(ino, signed(range.start), signed(range.end - range.start)),
        }
    }

    /// Drops the attributes of a node, and nothing else. Waits for nothing. Whether the kernel knows the node.
    pub(crate) fn drop_attributes(&self, ino: Ino) -> io::Result<bool> {
        self.inval_inode(ino, -1, 0)
    }

    /// Drops a name of a directory and what the kernel knows below it. Waits for the lock of the directory, which LOOKUPs and READDIRs hold that have not
    /// been answered. Whether the kernel knew it.
    pub(crate) fn drop_name(&self, parent: Ino, name: &Name) -> io::Result<bool> {
        let bytes = name.as_bytes();
        let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        // `fuse_notify_inval_entry_out`: directory, length of the name, flags; then the name, which ends with a zero that is not counted.
        let mut body = [0; 16];
        body[..8].copy_from_slice(&parent.0.to_ne_bytes());
        body[8..12].copy_from_slice(&length.to_ne_bytes());
        known(self.write(NOTIFY_INVAL_ENTRY, 0, &[&body, &[bytes, &[0]].concat()]))
    }

    /// Makes every cached name and listing be asked for again. Waits for nothing.
    pub(crate) fn next_epoch(&self) -> io::Result<()> {
        self.write(NOTIFY_INC_EPOCH, 0, &[])
    }

    fn inval_inode(&self, ino: Ino, offset: i64, length: i64) -> io::Result<bool> {
        // `fuse_notify_inval_inode_out`.
        let mut body = [0; 24];
        body[..8].copy_from_slice(&ino.0.to_ne_bytes());
        body[8..16].copy_from_slice(&offset.to_ne_bytes());
        body[16..].copy_from_slice(&length.to_ne_bytes());
        known(self.write(NOTIFY_INVAL_INODE, 0, &[&body]))
    }

    /// One message, in one write: the kernel takes it whole or not at all.
    fn write(&self, code: i32, request: u64, parts: &[&[u8]]) -> io::Result<()> {
        let header = header(code, request, parts.iter().map(|part| part.len()).sum())?;
        // No message here has more than two parts.
        let mut slices = [IoSlice::new(&header), IoSlice::new(&[]), IoSlice::new(&[])];
        for (slice, part) in slices.iter_mut().skip(1).zip(parts) {
            *slice = IoSlice::new(part);
        }
        let used = parts.len().min(2) + 1;
        rustix::io::retry_on_intr(|| rustix::io::writev(&self.0, &slices[..used]))?;
        Ok(())
    }
}

/// A `struct fuse_out_header` before so many bytes.
fn header(code: i32, request: u64, length: usize) -> io::Result<[u8; Device::HEADER]> {
    let length = u32::try_from(Device::HEADER + length).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut header = [0; Device::HEADER];
    header[..4].copy_from_slice(&length.to_ne_bytes());
    header[4..8].copy_from_slice(&code.to_ne_bytes());
    header[8..].copy_from_slice(&request.to_ne_bytes());
    Ok(header)
}

/// Whether the kernel knows the node of a message: it says so, and it is no error.
fn known(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    /// What is written for one message, after its length has been checked.
    fn written<T>(send: impl FnOnce(&Device) -> io::Result<T>) -> Vec<u8> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        send(&Device::new(ours.into())).unwrap();
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).unwrap();
        assert_eq!(u32::from_ne_bytes(all[..4].try_into().unwrap()) as usize, all.len());
        all.split_off(4)
    }

    /// Code and the words after the request.
    fn words(message: &[u8]) -> (i32, Vec<i64>) {
        let words = message[12..].chunks_exact(8).map(|word| i64::from_ne_bytes(word.try_into().unwrap()));
        (i32::from_ne_bytes(message[..4].try_into().unwrap()), words.collect())
    }

    #[test]
    fn layouts() {
        let reply = written(|device| device.reply(7, b"body"));
        assert_eq!(
            (&reply[..4], &reply[4..12], &reply[12..]),
            (&[0; 4][..], &7_u64.to_ne_bytes()[..], &b"body"[..])
        );

        let store = written(|device| device.store(Ino(5), 4096, b"bytes"));
        assert_eq!(words(&store), (4, vec![5, 4096, 5]));
        assert_eq!(&store[36..], b"bytes");

        assert_eq!(words(&written(|device| device.drop_pages(Ino(5), None))), (2, vec![5, 0, 0]));
        let range = Some(4096..12_288);
        assert_eq!(words(&written(|device| device.drop_pages(Ino(5), range))), (2, vec![5, 4096, 8192]));
        let range = Some(1..u64::MAX);
        assert_eq!(words(&written(|device| device.drop_pages(Ino(5), range))), (2, vec![5, 1, i64::MAX]));
        let nothing = words(&written(|device| device.drop_pages(Ino(5), Some(7..7))));
        assert_eq!(nothing, (2, vec![5, -1, 0]), "not up to the end");
        assert_eq!(words(&written(|device| device.drop_attributes(Ino(5)))), (2, vec![5, -1, 0]));
        assert_eq!(words(&written(Device::next_epoch)), (8, vec![]));

        let name = Name::new(b"seven77".as_slice()).unwrap();
        let entry = written(|device| device.drop_name(Ino(5), &name));
        assert_eq!(words(&entry), (3, vec![5, 7, i64::from_ne_bytes(*b"seven77\0")]));
    }

    #[test]
    fn an_unknown_node_is_no_error() {
        use rustix::io::Errno;
        assert!(known(Ok(())).unwrap());
        assert!(!known(Err(Errno::NOENT.into())).unwrap());
        assert!(known(Err(Errno::NODEV.into())).is_err());
    }
}
