//! `wasmount:plugin@0.1.0`.
//!
//! The imports are generated once, from the world that has all of them; each kind's world then uses these same types.
#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated; the documentation is in wit/")]

/// What the host offers.
pub(crate) mod host {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "host-imports",
        imports: { default: trappable },
        with: {
            "wasmount:plugin/buffers.buffer": crate::imports::Buffer,
            "wasmount:plugin/buffers.body": crate::imports::Body,
            "wasmount:plugin/secrets.secret": crate::imports::GuestSecret,
            "wasmount:plugin/tcp.connection": crate::imports::TcpConnection,
            "wasmount:plugin/crypto.cipher": crate::imports::Cipher,
        },
    });
}

/// What an object store exports.
pub(crate) mod objects {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "object-store",
        imports: { default: trappable },
        exports: { default: async | store },
        with: {
            "wasmount:plugin/types": crate::bindings::v0_1::host::wasmount::plugin::types,
            "wasmount:plugin/buffers": crate::bindings::v0_1::host::wasmount::plugin::buffers,
            "wasmount:plugin/secrets": crate::bindings::v0_1::host::wasmount::plugin::secrets,
            "wasmount:plugin/options": crate::bindings::v0_1::host::wasmount::plugin::options,
            "wasmount:plugin/capabilities": crate::bindings::v0_1::host::wasmount::plugin::capabilities,
            "wasmount:plugin/http": crate::bindings::v0_1::host::wasmount::plugin::http,
            "wasmount:plugin/tcp": crate::bindings::v0_1::host::wasmount::plugin::tcp,
            "wasmount:plugin/crypto": crate::bindings::v0_1::host::wasmount::plugin::crypto,
            "wasmount:plugin/cache": crate::bindings::v0_1::host::wasmount::plugin::cache,
            "wasmount:plugin/log": crate::bindings::v0_1::host::wasmount::plugin::log,
            "wasmount:plugin/system": crate::bindings::v0_1::host::wasmount::plugin::system,
        },
    });
}

/// What a file system exports.
pub(crate) mod files {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "file-system",
        imports: { default: trappable },
        exports: { default: async | store },
        with: {
            "wasmount:plugin/types": crate::bindings::v0_1::host::wasmount::plugin::types,
            "wasmount:plugin/buffers": crate::bindings::v0_1::host::wasmount::plugin::buffers,
            "wasmount:plugin/secrets": crate::bindings::v0_1::host::wasmount::plugin::secrets,
            "wasmount:plugin/options": crate::bindings::v0_1::host::wasmount::plugin::options,
            "wasmount:plugin/capabilities": crate::bindings::v0_1::host::wasmount::plugin::capabilities,
            "wasmount:plugin/http": crate::bindings::v0_1::host::wasmount::plugin::http,
            "wasmount:plugin/tcp": crate::bindings::v0_1::host::wasmount::plugin::tcp,
            "wasmount:plugin/crypto": crate::bindings::v0_1::host::wasmount::plugin::crypto,
            "wasmount:plugin/cache": crate::bindings::v0_1::host::wasmount::plugin::cache,
            "wasmount:plugin/log": crate::bindings::v0_1::host::wasmount::plugin::log,
            "wasmount:plugin/system": crate::bindings::v0_1::host::wasmount::plugin::system,
            "wasmount:plugin/notify": crate::bindings::v0_1::host::wasmount::plugin::notify,
        },
    });
}

/// What a block store exports.
pub(crate) mod blocks {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "block-store",
        imports: { default: trappable },
        exports: { default: async | store },
        with: {
            "wasmount:plugin/types": crate::bindings::v0_1::host::wasmount::plugin::types,
            "wasmount:plugin/buffers": crate::bindings::v0_1::host::wasmount::plugin::buffers,
            "wasmount:plugin/secrets": crate::bindings::v0_1::host::wasmount::plugin::secrets,
            "wasmount:plugin/options": crate::bindings::v0_1::host::wasmount::plugin::options,
            "wasmount:plugin/capabilities": crate::bindings::v0_1::host::wasmount::plugin::capabilities,
            "wasmount:plugin/http": crate::bindings::v0_1::host::wasmount::plugin::http,
            "wasmount:plugin/tcp": crate::bindings::v0_1::host::wasmount::plugin::tcp,
            "wasmount:plugin/crypto": crate::bindings::v0_1::host::wasmount::plugin::crypto,
            "wasmount:plugin/cache": crate::bindings::v0_1::host::wasmount::plugin::cache,
            "wasmount:plugin/log": crate::bindings::v0_1::host::wasmount::plugin::log,
            "wasmount:plugin/system": crate::bindings::v0_1::host::wasmount::plugin::system,
            "wasmount:plugin/notify": crate::bindings::v0_1::host::wasmount::plugin::notify,
        },
    });
}
