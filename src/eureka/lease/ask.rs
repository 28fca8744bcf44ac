//! What a server of a registry is asked.

use reqwest::Method;

/// One request, whoever is asked.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    /// Segments below the base URL.
    pub(super) path: &'a [&'a str],
    pub(super) query: &'a [(&'a str, String)],
    pub(super) body: Option<&'a [u8]>,
    /// That something is not there is taken for a proof.
    pub(super) is_proof: bool,
}

impl<'a> Ask<'a> {
    pub(super) fn new(method: Method, path: &'a [&'a str]) -> Self {
        Self { method, path, query: &[], body: None, is_proof: false }
    }

    pub(super) fn proving(method: Method, path: &'a [&'a str]) -> Self {
        Self { is_proof: true, ..Self::new(method, path) }
    }

    /// It asks for what every registry has.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.path, ["apps"] | ["apps", "delta"])
    }
}
