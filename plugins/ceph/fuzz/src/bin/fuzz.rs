//! The fuzzer: `CEPH_FUZZ_TARGET=NAME ceph-fuzz [libFuzzer's options] CORPUS…`. Build it with tests/tools/fuzz.sh, which adds
//! the instrumentation.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use wasmount_ceph_fuzz::Target;

fn target() -> &'static Target {
    static TARGET: OnceLock<&'static Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("CEPH_FUZZ_TARGET").unwrap_or_default();
        Target::named(&name).unwrap_or_else(|| {
            eprintln!("CEPH_FUZZ_TARGET={name:?} is no target");
            std::process::exit(2)
        })
    })
}

fuzz_target!(|input: &[u8]| target().check(input));
