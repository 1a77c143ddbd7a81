//! libFuzzer's entry to [`heddle_fuzz::manifest`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| heddle_fuzz::manifest(data));
