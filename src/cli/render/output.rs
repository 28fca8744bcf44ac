//! The two streams, and what may be said on each.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use serde::Serialize;

use super::table::{Paint, finish, painted};
use super::{Live, Style, escape};
use crate::cli::args::Stop;
use crate::cli::exit::ExitCode;
use crate::config::OutputFormat;
use crate::model::{Fault, FaultKind, Timestamp};
use crate::text::{self, Message};

/// Where results, notes and failures go. Cheap to clone; each call writes whole lines.
#[derive(Clone)]
pub struct Output {
    style: Style,
    clock: fn() -> Timestamp,
    live: Live,
    streams: Arc<Mutex<Streams>>,
}

struct Streams {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    /// Results keep coming: JSON is written one document a line.
    is_stream: bool,
    /// A JSON document was written.
    has_document: bool,
    /// Standard output takes no more. `Some(None)`: its reader went away.
    out_failure: Option<Option<io::Error>>,
}

#[derive(Serialize)]
struct Failure<'a> {
    success: bool,
    error: String,
    code: &'a str,
}

#[derive(Serialize)]
struct Done<'a> {
    success: bool,
    message: &'a Message,
}

impl Output {
    /// To the streams of this process. `clock` tells the time that ages are counted from.
    pub fn to_process(style: Style, clock: fn() -> Timestamp) -> Self {
        Self::new(style, Box::new(io::stdout()), Box::new(io::stderr()), clock)
    }

    /// To any streams; the bars of [`Output::live`] still go to the process's standard error.
    pub fn new(
        style: Style,
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
        clock: fn() -> Timestamp,
    ) -> Self {
        let streams =
            Streams { out, err, is_stream: false, has_document: false, out_failure: None };
        let streams = Arc::new(Mutex::new(streams));
        Self { style, clock, live: Live::new(style.live), streams }
    }

    /// How it looks.
    pub fn style(&self) -> Style {
        self.style
    }

    /// Where bars are drawn, and a writer for the log that gets along with them.
    pub fn live(&self) -> Live {
        self.live.clone()
    }

    /// False once the reader of standard output went away or its disk is full: a command that keeps
    /// writing should end.
    pub fn is_open(&self) -> bool {
        self.streams().out_failure.is_none()
    }

    /// Declares that results will keep coming (`-f`, `--watch`): JSON becomes one document a line.
    pub fn begin_stream(&self) {
        self.streams().is_stream = true;
    }

    /// Begins the next screen of `--watch`: clears a terminal, sets a blank line between the screens
    /// of a pipe, nothing with JSON.
    pub fn begin_screen(&self) {
        self.begin_stream();
        let is_first = !std::mem::replace(&mut self.streams().has_document, true);
        match (self.is_json(), self.style.screen, is_first) {
            (true, ..) | (false, false, true) => {}
            (false, true, _) => self.write_out("\u{1b}[H\u{1b}[2J"),
            (false, false, false) => self.write_out("\n"),
        }
    }

    /// Writes what is neither table nor document, such as a completion script, as it is.
    pub fn raw(&self, bytes: &[u8]) {
        self.write_bytes(bytes);
    }

    /// A result that is one sentence; with JSON `{"success":true,"message":…}`.
    pub fn done(&self, message: &Message) {
        match self.is_json() {
            true => self.document(&Done { success: true, message }),
            false => self.line_out(&self.sentence(message)),
        }
    }

    /// Something worth knowing, on standard error; not with `-q`.
    pub fn note(&self, message: &Message) {
        if self.style.verbosity >= 0 {
            self.labelled(Paint::Faint, &text::cli::label_note(), message);
        }
    }

    /// Something worth knowing with `-v` only.
    pub fn detail(&self, message: &Message) {
        if self.style.verbosity > 0 {
            self.note(message);
        }
    }

    /// A failure: the sentence and its causes on standard error, or the failure document on
    /// standard output. After a document that stands alone it goes to standard error with JSON too.
    pub fn fault(&self, fault: &Fault) -> ExitCode {
        match self.is_json() && self.may_write_document() {
            true => self.failure_document(&fault.to_string(), fault.message.code()),
            false => self.fault_lines(fault),
        }
        fault.kind.into()
    }

    /// Mistakes of a command line or of settings, all of them. `mistakes` is not empty.
    pub fn mistakes(&self, mistakes: &[Message]) -> ExitCode {
        if self.is_json() && self.may_write_document() {
            let sentences: Vec<String> = mistakes.iter().map(Message::to_string).collect();
            let code = match mistakes {
                [only] => only.code(),
                _ => "settings-invalid",
            };
            self.failure_document(&sentences.join("; "), code);
        } else {
            for mistake in mistakes {
                self.labelled(Paint::Bad, &text::cli::label_error(), mistake);
            }
        }
        FaultKind::Usage.into()
    }

    /// Why a command line is not carried out: a page that was asked for, or what is wrong with it.
    pub fn stop(&self, stop: &Stop) -> ExitCode {
        match stop {
            Stop::Wrong(mistakes) => self.mistakes(mistakes),
            Stop::Page(page) => {
                self.write_out(&coloured(page, self.style.color));
                ExitCode::Success
            }
            Stop::Clap(error) if !error.use_stderr() => {
                self.write_out(&coloured(&error.render(), self.style.color));
                ExitCode::Success
            }
            Stop::Clap(error) => {
                let page = error.render();
                match self.is_json() {
                    true => {
                        let plain = page.to_string();
                        let first = plain.trim_start_matches("error: ").split("\n\n").next();
                        let sentence = first.unwrap_or_default().trim();
                        let missing =
                            clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
                        let said = match error.kind() == missing {
                            true => text::cli::command_missing().to_string(),
                            false => sentence.replace('\n', " "),
                        };
                        self.failure_document(&said, "usage");
                    }
                    false => self.write_err(&coloured(&page, self.style.error_color)),
                }
                ExitCode::Usage
            }
        }
    }

    /// Writes out what is left. `code`, or failure where standard output could not be written (a
    /// reader that went away had what it wanted).
    pub fn finish(&self, code: ExitCode) -> ExitCode {
        let mut streams = match self.streams.try_lock() {
            Ok(streams) => streams,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // A thread of ours is stuck in the middle of writing: there is nobody to write to.
            Err(TryLockError::WouldBlock) => return code,
        };
        if streams.out_failure.is_none()
            && let Err(error) = streams.out.flush()
        {
            streams.note_failure(error);
        }
        match streams.out_failure.take() {
            Some(Some(error)) => {
                streams.out_failure = Some(None);
                drop(streams);
                let message = text::cli::output_failed();
                self.fault_lines(&Fault::caused(FaultKind::Internal, message, &error));
                code.max(ExitCode::Failed)
            }
            other => {
                streams.out_failure = other;
                code
            }
        }
    }

    pub(super) fn is_json(&self) -> bool {
        self.style.format == OutputFormat::Json
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The sentence in the reader's language, harmless to a terminal.
    pub(super) fn sentence(&self, message: &Message) -> String {
        escape::lines(&message.render(self.style.lang)).into_owned()
    }

    /// Writes one JSON document: indented, or on one line in a stream.
    pub(super) fn document(&self, document: &impl Serialize) {
        let is_stream = self.streams().is_stream;
        let written = match is_stream {
            true => serde_json::to_string(document),
            false => serde_json::to_string_pretty(document),
        };
        match written {
            Ok(text) => {
                self.streams().has_document = true;
                self.line_out(&escape::json(&text));
            }
            // The reports have string keys and no fallible parts: nothing can fail.
            Err(error) => self.streams().note_failure(io::Error::other(error)),
        }
    }

    /// One line of results; its marks become colours.
    pub(super) fn line_out(&self, line: &str) {
        self.write_out(&format!("{line}\n"));
    }

    /// Text of results; its marks become colours.
    pub(super) fn write_out(&self, text: &str) {
        self.write_bytes(finish(text, self.style.color).as_bytes());
    }

    /// A failure in words, whatever the format.
    pub(super) fn fault_lines(&self, fault: &Fault) {
        self.labelled(Paint::Bad, &text::cli::label_error(), &fault.message);
        let label = text::cli::label_cause().render(self.style.lang);
        for cause in &fault.causes {
            self.write_err(&format!("  {label}{}\n", escape::lines(cause)));
        }
    }

    fn failure_document(&self, error: &str, code: &str) {
        self.document(&Failure { success: false, error: error.to_owned(), code });
    }

    fn may_write_document(&self) -> bool {
        let streams = self.streams();
        streams.is_stream || !streams.has_document
    }

    pub(super) fn error(&self, message: &Message) {
        self.labelled(Paint::Bad, &text::cli::label_error(), message);
    }

    fn labelled(&self, paint: Paint, label: &Message, message: &Message) {
        let label = painted(paint, &label.render(self.style.lang));
        self.write_err(&format!("{label}{}\n", self.sentence(message)));
    }

    fn write_err(&self, text: &str) {
        let text = finish(text, self.style.error_color);
        let mut streams = self.streams();
        // Nowhere is left to say that standard error is gone.
        let _ = self.live.suspend(|| streams.err.write_all(text.as_bytes()));
        let _ = streams.err.flush();
    }

    fn write_bytes(&self, bytes: &[u8]) {
        let mut streams = self.streams();
        if streams.out_failure.is_some() {
            return;
        }
        let written = self.live.suspend(|| {
            streams.out.write_all(bytes)?;
            streams.out.flush()
        });
        if let Err(error) = written {
            streams.note_failure(error);
        }
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        // Writers leave nothing half done that matters to the next one.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Streams {
    fn note_failure(&mut self, error: io::Error) {
        let went_away = error.kind() == io::ErrorKind::BrokenPipe;
        self.out_failure = Some((!went_away).then_some(error));
    }
}

fn coloured(page: &clap::builder::StyledStr, color: bool) -> String {
    match color {
        true => page.ansi().to_string(),
        false => page.to_string(),
    }
}

#[cfg(test)]
mod tests;
