#![no_main]
#![allow(unsafe_code, missing_docs, reason = "libFuzzer's entry point is a C symbol")]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidegate_fuzz::DNS_MESSAGE.run(data));
