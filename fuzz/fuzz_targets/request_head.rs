//! Heads of requests: judged alike however they come, and sent on as one valid head.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pmctl::proxy::fuzzing::request_head(bytes));
