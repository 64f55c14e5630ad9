//! Generated from `wit/`: not part of the API. Authors use the names that the crate root re-exports one by one, so that a
//! change of the generator is not a change for them.

wit_bindgen::generate!({
    path: "../wit",
    world: "object-store",
    generate_all,
    pub_export_macro: true,
    default_bindings_module: "wasmount_sdk::bindings",
});
