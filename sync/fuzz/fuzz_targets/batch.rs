//! Feeds whatever the fuzzer finds to `decoders::batch`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    selvedge_fuzz::decoders::batch(bytes);
});
