//! libFuzzer's entry to [`heddle_fuzz::path`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| heddle_fuzz::path(data));
