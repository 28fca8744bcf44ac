//! Sentences a person reads, in every language pmctl speaks.
//!
//! Belongs here: the catalogue (`en/*.toml`, `zh-CN/*.toml`), the [`Message`] that names one of
//! its sentences together with its values, and the choice of [`Lang`].
//! Does not belong here: printing (that is `cli::render`), deciding which sentence to say.
//!
//! Ground rules: `build.rs` turns each file of the catalogue into a module of constructor
//! functions (`text::store::database_is_directory(path)`), one parameter for each `{placeholder}`
//! in the order of their first appearance in the English sentence. A key that one language lacks,
//! or whose placeholders differ, fails the build. A key is also the stable kebab-case `code` of
//! the JSON and gRPC answers, so keys are unique over all files and never renamed.
//! A `Message` travels as code and values, and becomes words only at the edge, in the language of
//! whoever reads it. This room names no other room.

mod lang;
mod message;

pub use lang::Lang;
pub use message::Message;

include!(concat!(env!("OUT_DIR"), "/catalogue.rs"));
