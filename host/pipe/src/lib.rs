//! Bytes that stay in the kernel between a socket and a mount.
//!
//! What has arrived at a socket lies in pages of the kernel. `splice(2)` moves references to these pages into a pipe, and from there
//! into an answer to a READ, so that the only copy is the one into the page cache. Read into memory and written back, the same bytes are
//! copied twice more.
//!
//! A pipe holds a number of references, whatever they refer to: one to each stretch of a received packet. With short packets it is full
//! before it holds what is wanted; then its bytes are read into memory, as they can be at any time ([`Pipe::read_into`]).

mod pool;

use bytes::BytesMut;
pub use pool::{Offer, Pipes};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Weak;

/// What a socket gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing: the pipe is full, or takes none of this socket.
    Full,
    /// The other side sends no more.
    End,
}

/// A pipe, and how much is in it. Dropped with bytes in it, they are gone; without, it is used again.
#[derive(Debug)]
pub struct Pipe {
    /// `None` after a message that could not be delivered.
    ends: Option<Ends>,
    length: usize,
    pool: Weak<Pipes>,
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

impl Ends {
    /// A pipe with room for `size` bytes in pages of their own. It counts as so many pages of what the pipes of a user may have on a machine
    /// (`fs.pipe-user-pages-soft`), whatever is in it.
    ///
    /// # Errors
    /// No descriptors are left, or the kernel allows no pipe of this size.
    fn new(size: usize) -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        fcntl_setpipe_size(&write, size)?;
        Ok(Self { read, write })
    }
}

impl Pipe {
    /// Bytes in it.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn ends(&self) -> Result<&Ends, Errno> {
        self.ends.as_ref().ok_or(Errno::BADF)
    }

    /// Moves what has arrived at a TCP socket here, at most `most` bytes.
    ///
    /// # Errors
    /// `WouldBlock` when nothing has arrived; those of the socket.
    pub fn fill_from(&mut self, socket: impl AsFd, most: usize) -> io::Result<Filled> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        let splice =
            || rustix::io::retry_on_intr(|| splice(&socket, None, &self.ends()?.write, None, most, flags));
        let moved = match splice() {
            // Nothing has arrived, or there is no room: a look at the socket tells, unless it arrives at this moment.
            Err(Errno::AGAIN) if has_arrived(&socket) => {
                splice().map_err(|error| if error == Errno::AGAIN { Errno::NOSPC } else { error })
            }
            moved => moved,
        };
        match moved {
            Ok(0) => Ok(Filled::End),
            Ok(count) => {
                self.length += count;
                Ok(Filled::Bytes(count))
            }
            // Of a socket that cannot be spliced, or where nobody may, nothing goes in.
            Err(Errno::NOSPC | Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::OPNOTSUPP) => {
                Ok(Filled::Full)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Copies as many of these bytes here as there is room for; returns how many.
    ///
    /// # Errors
    /// The system's.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match rustix::io::retry_on_intr(|| rustix::io::write(&self.ends()?.write, bytes)) {
            Ok(count) => {
                self.length += count;
                Ok(count)
            }
            Err(Errno::AGAIN) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Moves all it has behind what is in another one.
    ///
    /// # Errors
    /// `StorageFull`: the other one has no room for all of it; it has some now. The system's.
    pub fn move_to(&mut self, other: &mut Self) -> io::Result<()> {
        while self.length > 0 {
            let (from, to) = (&self.ends()?.read, &other.ends()?.write);
            let moved = rustix::io::retry_on_intr(|| {
                splice(from, None, to, None, self.length, SpliceFlags::NONBLOCK | SpliceFlags::MOVE)
            });
            match moved {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.length -= count;
                    other.length += count;
                }
                Err(Errno::AGAIN) => {
                    self.tell(false);
                    return Err(io::ErrorKind::StorageFull.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.tell(true);
        Ok(())
    }

    /// Tells those who hand out such pipes whether there was room for what was in it.
    fn tell(&self, had_room: bool) {
        if let Some(pool) = self.pool.upgrade() {
            pool.tell(had_room);
        }
    }

    /// Gives all it has to a descriptor, in one message.
    ///
    /// # Errors
    /// What the receiver says. It is as it was if the receiver has taken nothing, else empty and of no further use.
    pub fn send_to(&mut self, receiver: impl AsFd) -> io::Result<()> {
        let ends = self.ends.take().ok_or(Errno::BADF)?;
        let length = std::mem::take(&mut self.length);
        let sent = rustix::io::retry_on_intr(|| {
            // Without MOVE: pages of a socket cannot become pages of a file, and trying costs something.
            splice(&ends.read, None, &receiver, None, length, SpliceFlags::empty())
        });
        match sent {
            Ok(sent) if sent == length => self.ends = Some(ends),
            Ok(_short) => return Err(io::ErrorKind::WriteZero.into()),
            Err(error) => {
                if rustix::io::ioctl_fionread(&ends.read).is_ok_and(|left| left == length as u64) {
                    (self.ends, self.length) = (Some(ends), length);
                }
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Appends all it has to `into`.
    ///
    /// # Errors
    /// The system's.
    pub fn read_into(&mut self, into: &mut BytesMut) -> io::Result<()> {
        while self.length > 0 {
            let begin = into.len();
            into.resize(begin + self.length, 0);
            let room = into.get_mut(begin..).unwrap_or_default();
            let read = rustix::io::retry_on_intr(|| rustix::io::read(&self.ends()?.read, &mut *room));
            into.truncate(begin + read.unwrap_or(0));
            match read? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.length -= count,
            }
        }
        Ok(())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            // One with bytes in it, or of which nobody knows, is closed.
            pool.back(self.ends.take().filter(|_| self.length == 0));
        }
    }
}

/// Whether there are bytes to receive, or an end.
fn has_arrived(socket: impl AsFd) -> bool {
    let mut byte = [0; 1];
    rustix::net::recv(socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT).is_ok()
}

#[cfg(test)]
mod tests;
