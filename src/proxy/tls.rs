//! What a target's certificate is checked against.
