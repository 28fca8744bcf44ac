//! How output is to look: decided once, from settings and terminal.

use std::io::IsTerminal;

use super::terminal;
use crate::cli::args::Early;
use crate::config::{ColorChoice, OutputFormat, Settings, Surroundings};
use crate::text::Lang;

/// How output looks. `Default` is what a pipe gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Table or JSON.
    pub format: OutputFormat,
    /// Language of sentences and headings.
    pub lang: Lang,
    /// Colour on standard output.
    pub color: bool,
    /// Colour on standard error.
    pub error_color: bool,
    /// -1: only results and failures; 1 and 2: more.
    pub verbosity: i8,
    /// Columns of the terminal on standard output; `None` lets lines be as long as they are.
    pub width: Option<u16>,
    /// Standard output is a terminal, so a screen can be drawn anew.
    pub screen: bool,
    /// Standard error is a terminal, so bars can be drawn on it.
    pub live: bool,
}

impl Style {
    /// The style before the settings are known.
    pub fn early(early: Early, around: &Surroundings) -> Self {
        Self::of_process(early.output, early.lang, early.color, 0, around)
    }

    /// The style the settings ask for.
    pub fn new(settings: &Settings, around: &Surroundings) -> Self {
        let Settings { output, lang, color, verbosity, .. } = *settings;
        Self::of_process(output, lang, color, verbosity, around)
    }

    fn of_process(
        format: OutputFormat,
        lang: Lang,
        color: ColorChoice,
        verbosity: i8,
        around: &Surroundings,
    ) -> Self {
        let screen = std::io::stdout().is_terminal();
        let errors = std::io::stderr().is_terminal();
        let is_set = |name| (around.env)(name).is_some_and(|value| !value.is_empty());
        let is_dumb = (around.env)("TERM").is_some_and(|term| term == "dumb");
        let colours = |is_terminal: bool| match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                is_terminal && !is_set("NO_COLOR") && !is_dumb && terminal::takes_colour()
            }
        };
        Self {
            format,
            lang,
            color: format == OutputFormat::Table && colours(screen),
            error_color: colours(errors),
            verbosity,
            width: terminal::width().filter(|_| screen),
            screen: screen && !is_dumb,
            live: errors && !is_dumb && verbosity >= 0,
        }
    }
}
