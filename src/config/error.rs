//! Everything that is wrong with what was configured.

use std::fmt;

use crate::model::Fault;
use crate::text::{self, Message};

/// All mistakes of flags, environment and file together; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// One sentence each, with the place the mistake stands in.
    pub mistakes: Vec<Message>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mistake) in self.mistakes.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigError> for Fault {
    /// One mistake is the fault's sentence; several stand below a sentence that counts them.
    fn from(error: ConfigError) -> Self {
        let mut mistakes = error.mistakes;
        if mistakes.len() == 1 {
            return Fault::usage(mistakes.remove(0));
        }
        let mut fault = Fault::usage(text::config::settings_invalid(mistakes.len()));
        fault.causes = mistakes.iter().map(Message::to_string).collect();
        fault
    }
}
