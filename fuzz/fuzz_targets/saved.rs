//! libFuzzer's entry to [`heddle_fuzz::saved`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| heddle_fuzz::saved(data));
