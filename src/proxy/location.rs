//! Addresses in responses, mapped from the target's view back to the client's.
