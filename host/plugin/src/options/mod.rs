//! Options: from text in config.json to values a plugin can rely on.
//!
//! A plugin declares what it accepts ([`crate::OptionSpec`]); here its mount's options are checked against that
//! table before the plugin runs: [`written`] says which of several sources wins and which file holds a value,
//! [`resolve`](mod@resolve) makes values of what holds, [`parse`] reads one value, [`suggest`] names the option somebody meant, [`entry`] makes the copy of
//! the mount's configuration that the plugin may see.

pub(crate) mod entry;
pub(crate) mod parse;
pub(crate) mod resolve;
pub(crate) mod suggest;
pub(crate) mod written;

use crate::spec::OptionSource;
use bytes::Bytes;
use wasmount_net::Secret;

/// Where an `endpoint` option leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Scheme or protocol.
    pub(crate) protocol: String,
    /// Name or address, IPv6 without brackets.
    pub(crate) host: String,
    /// Port.
    pub(crate) port: u16,
    /// Path after the authority, empty or beginning with `/`.
    pub(crate) path: String,
}

/// A value that needs no file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    /// `text` and `choice`.
    Text(String),
    /// `integer`.
    Integer(i64),
    /// `boolean`.
    Boolean(bool),
    /// `size`, in bytes.
    Size(u64),
    /// `duration`, in milliseconds.
    DurationMs(u64),
    /// `endpoint`, and a warning about parts that have no meaning.
    Endpoints(Vec<Endpoint>, Option<String>),
}

/// A validated value. Has no `Debug`: it may be a secret.
#[derive(Clone)]
pub(crate) enum Value {
    /// Readable by anyone.
    Plain(Plain),
    /// A credential, and whether the plugin may see it in clear.
    Secret { secret: Secret, reveal: bool },
    /// Content of a file.
    Content(Bytes),
}

/// A validated option.
#[derive(Clone)]
pub(crate) struct Setting {
    /// Canonical name.
    pub(crate) name: String,
    /// Its value, possibly the default.
    pub(crate) value: Value,
    /// Who wrote it; `None`: it is the default.
    pub(crate) source: Option<OptionSource>,
    /// The path it was written as, if the value is the content of a file.
    pub(crate) file: Option<String>,
}

impl Setting {
    /// Somebody wrote it, as opposed to the default.
    pub(crate) fn explicit(&self) -> bool {
        self.source.is_some()
    }

    /// The operator wrote it, on the command line.
    pub(crate) fn by_operator(&self) -> bool {
        self.source == Some(OptionSource::Args)
    }
}
