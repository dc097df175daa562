#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| bootstrap_fuzz::events::check(data));
