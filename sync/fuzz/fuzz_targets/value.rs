//! Feeds whatever the fuzzer finds to `decoders::value`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    selvedge_fuzz::decoders::value(bytes);
});
