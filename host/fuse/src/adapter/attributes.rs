//! GETXATTR, LISTXATTR.

use super::Adapter;
use crate::reply;
use crate::serve::Asked;
use fuser::{INodeNo, ReplyXattr, Request};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use wasmount_types::{ErrorKind, Ino};

/// Name spaces of ACLs, capabilities and labels, which cannot exist here: the kernel of a read-only mount would not obey them. `ls -l` asks
/// for them file by file, until it is told that the file system does not have any; that a file has none would not stop it.
const ABSENT: [&[u8]; 2] = [b"system.", b"security."];

impl Adapter {
    /// GETXATTR into a buffer of this size; 0 asks for the size of the value.
    pub(super) fn attribute(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        let asked = Asked::new("getxattr", ino);
        let name = name.as_bytes();
        if ABSENT.iter().any(|space| name.starts_with(space)) {
            return self.refuse(asked, request, ErrorKind::Unsupported, |errno| reply.error(errno));
        }
        let name = name.to_vec();
        self.server.run(
            asked,
            request,
            |fs, ctx| async move { fs.getxattr(ctx, Ino(ino.0), &name).await },
            move |_, result| reply::xattr(reply, size, result),
            |_, _| {},
        );
    }

    /// LISTXATTR into a buffer of this size; 0 asks for the size of the list.
    pub(super) fn attribute_names(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.server.run(
            Asked::new("listxattr", ino),
            request,
            |fs, ctx| async move { fs.listxattr(ctx, Ino(ino.0)).await },
            move |_, result| {
                // Each name ends with a NUL (`listxattr(2)`).
                let joined = result.map(|names| {
                    let shown =
                        names.into_iter().filter(|name| !ABSENT.iter().any(|space| name.starts_with(space)));
                    shown.flat_map(|name| name.into_iter().chain([0])).collect::<Vec<u8>>()
                });
                reply::xattr(reply, size, joined)
            },
            |_, _| {},
        );
    }
}
