//! Applications and instances, and how they are written in JSON and XML.
//!
//! Belongs here: the types, and reading and writing them exactly as `eureka-client` and
//! `eureka-core` do (`EurekaJacksonCodec.java` for JSON, `Converters.java` for XML). Does not belong
//! here: what becomes of them.
//!
//! Ground rules: writing is strict, reading is tolerant. XML is read into the JSON form first, so the
//! meaning of a field is decided in one place ([`read`]).

mod json;
mod names;
mod nouns;
mod read;
mod roll;
mod xml;

#[cfg(test)]
mod tests;

pub use nouns::{
    Action, Application, Applications, DataCenter, DataCenterName, Instance, InstanceStatus,
    LeaseInfo, PortEntry,
};
pub(super) use roll::RollReader;
pub use roll::{Listed, Roll};

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `application/json`.
    Json,
    /// `application/xml`.
    Xml,
}

impl Format {
    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Xml => "application/xml",
        }
    }
}

/// What can stand alone in a body.
#[derive(Clone, Copy, Debug)]
pub enum Document<'a> {
    /// `{"instance":…}`.
    Instance(&'a Instance),
    /// `{"application":…}`.
    Application(&'a Application),
    /// `{"applications":…}`.
    Applications(&'a Applications),
}

impl Document<'_> {
    /// Its bytes.
    pub fn encode(&self, format: Format) -> Vec<u8> {
        match format {
            Format::Json => json::encode(self),
            Format::Xml => xml::encode(self).into_bytes(),
        }
    }
}

/// Why a body is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// No JSON at all.
    #[error("read the body as JSON")]
    NotJson(#[source] serde_json::Error),
    /// No XML at all, or XML with a document type.
    #[error("read the body as XML: {0}")]
    NotXml(String),
    /// Another document.
    #[error("find `{expected}` at the root of the body")]
    WrongRoot {
        /// The name of the document that was wanted.
        expected: &'static str,
    },
    /// A field that cannot be read.
    #[error("read the field `{field}` as {expected}")]
    Field {
        /// Its name.
        field: String,
        /// What it should be.
        expected: &'static str,
    },
}

impl Instance {
    /// Reads one instance, as a registration sends it.
    ///
    /// # Errors
    /// [`WireError`]. A field that is missing is no error; see [`Instance`] for the defaults.
    pub fn decode(format: Format, body: &[u8]) -> Result<Self, WireError> {
        read::instance(&read::fields_of(format, body, "instance")?)
    }
}

impl Application {
    /// Reads one application.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(format: Format, body: &[u8]) -> Result<Self, WireError> {
        read::application(&read::fields_of(format, body, "application")?)
    }
}

impl Applications {
    /// Reads a list of applications, whole or a delta.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(format: Format, body: &[u8]) -> Result<Self, WireError> {
        read::applications(&read::fields_of(format, body, "applications")?)
    }
}
