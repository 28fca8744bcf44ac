//! Bodies in chunks: followed alike however they come, and sent on as one valid body.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pmctl::proxy::fuzzing::chunks(bytes));
