//! Heads of answers: refused, or sent on as one valid head.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pmctl::proxy::fuzzing::answer_head(bytes));
