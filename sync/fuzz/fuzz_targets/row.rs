//! Feeds whatever the fuzzer finds to `decoders::row`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    selvedge_fuzz::decoders::row(bytes);
});
