//! Feeds whatever the fuzzer finds to `decoders::object`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    selvedge_fuzz::decoders::object(bytes);
});
