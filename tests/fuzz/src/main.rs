//! Looks for inputs of the target that `FUZZ_TARGET` names. Its arguments are libFuzzer's.
#![no_main]

use std::sync::OnceLock;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    static TARGET: OnceLock<String> = OnceLock::new();
    let target = TARGET.get_or_init(|| std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET is set"));
    fuzz::run(target, data);
});
