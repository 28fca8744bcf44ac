//! Tests that drive the real program over real sockets, one module a theme.
