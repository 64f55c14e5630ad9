//! Generated from `wit/`: not part of the API. Authors use the names that the crate root re-exports one by one, so that a
//! change of the generator is not a change for them.
//!
//! The contract's worlds are generated in parts, so that what they share is one set of types: here all imports and `lifecycle`, in a
//! module of its own what each kind exports besides. The linker puts the parts that a component uses together again, and leaves
//! imports out that it does not use.

wit_bindgen::generate!({
    inline: "
        package wasmount:sdk;
        world shared {
            include wasmount:plugin/host-imports@0.1.0;
            export wasmount:plugin/lifecycle@0.1.0;
        }
    ",
    path: "../wit",
    generate_all,
    pub_export_macro: true,
    default_bindings_module: "wasmount_sdk::bindings",
});

/// What an object store exports beside `lifecycle`.
pub mod objects {
    wit_bindgen::generate!({
        inline: "
            package wasmount:sdk;
            world objects-only {
                export wasmount:plugin/objects@0.1.0;
                export wasmount:plugin/objects-write@0.1.0;
            }
        ",
        path: "../wit",
        with: {
            "wasmount:plugin/types@0.1.0": crate::bindings::wasmount::plugin::types,
            "wasmount:plugin/buffers@0.1.0": crate::bindings::wasmount::plugin::buffers,
        },
        pub_export_macro: true,
        default_bindings_module: "wasmount_sdk::bindings::objects",
    });
}

/// What a block store exports beside `lifecycle`.
pub mod blocks {
    wit_bindgen::generate!({
        inline: "
            package wasmount:sdk;
            world blocks-only {
                export wasmount:plugin/blocks@0.1.0;
            }
        ",
        path: "../wit",
        with: {
            "wasmount:plugin/types@0.1.0": crate::bindings::wasmount::plugin::types,
            "wasmount:plugin/buffers@0.1.0": crate::bindings::wasmount::plugin::buffers,
        },
        pub_export_macro: true,
        default_bindings_module: "wasmount_sdk::bindings::blocks",
    });
}

/// What a file system exports beside `lifecycle`.
pub mod files {
    wit_bindgen::generate!({
        inline: "
            package wasmount:sdk;
            world files-only {
                export wasmount:plugin/files@0.1.0;
            }
        ",
        path: "../wit",
        with: {
            "wasmount:plugin/types@0.1.0": crate::bindings::wasmount::plugin::types,
            "wasmount:plugin/buffers@0.1.0": crate::bindings::wasmount::plugin::buffers,
        },
        pub_export_macro: true,
        default_bindings_module: "wasmount_sdk::bindings::files",
    });
}
