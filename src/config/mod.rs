//! What pmctl was told: flags, environment and `pmctl.toml`, made into settings.
//!
//! Belongs here: finding and reading the configuration file, which setting is called what in each
//! place ([`Key`]), the directories of the platform, and [`Settings`], the resolved values that
//! everything else runs on. Does not belong here: parsing the command line (`cli::args` hands over
//! [`Flags`]), opening databases or sockets.
//!
//! Ground rules: a setting is taken from the flag, else the environment, else the file, else its
//! default. What was *typed* ([`Flags`], the file's text) and what was *resolved* ([`Settings`]) are
//! different types, and resolving reports every mistake at once ([`ConfigError`]), each with the
//! place it stands in. The environment and the machine come in as [`Surroundings`], so that a test
//! needs nothing global. Every key of the file does something in this version.

mod dirs;
mod error;
mod eureka;
mod file;
mod key;
mod layers;
mod parse;
mod resolve;
mod settings;
mod surroundings;

pub use error::ConfigError;
pub use key::Key;
pub use layers::Flags;
pub(crate) use parse::duration_within;
pub(crate) use resolve::locale;
pub use settings::{
    AccessSettings, ColorChoice, EurekaSettings, LimitSettings, LogFormat, LogLevel, LogSettings,
    OnConflict, OnHang, OutputFormat, ServeSettings, Settings,
};
pub use surroundings::Surroundings;
