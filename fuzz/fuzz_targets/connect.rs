//! libFuzzer's entry to [`heddle_fuzz::connect`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| heddle_fuzz::connect(data));
