//! libFuzzer's entry to [`heddle_fuzz::route`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| heddle_fuzz::route(data));
