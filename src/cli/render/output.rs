//! The two streams, and what may be said on each.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::table::{Paint, finish, painted};
use super::{Live, Style, escape};
use crate::cli::args::Stop;
use crate::cli::exit::ExitCode;
use crate::config::OutputFormat;
use crate::model::{Fault, FaultKind, Timestamp};
use crate::text::{self, Message};

/// Where results, notes and failures go. Shared by reference; each call writes whole lines.
pub struct Output {
    style: Style,
    clock: fn() -> Timestamp,
    live: Live,
    streams: Mutex<Streams>,
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
struct Done {
    success: bool,
    message: String,
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
        Self { style, clock, live: Live::new(style.live), streams: Mutex::new(streams) }
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
            true => self.document(&Done { success: true, message: message.to_string() }),
            false => self.line_out(&self.sentence(message)),
        }
    }

    /// Something worth knowing, on standard error; not with `-q`.
    pub fn note(&self, message: &Message) {
        if self.style.verbosity >= 0 {
            self.labelled(Paint::Faint, &text::cli::label_note(), message);
        }
    }

    /// Something to look into, on standard error; not with `-q`.
    pub fn warning(&self, message: &Message) {
        if self.style.verbosity >= 0 {
            self.labelled(Paint::Pending, &text::cli::label_warning(), message);
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
        let mut streams = self.streams();
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
            self.write_err(&format!("  {label} {}\n", escape::lines(cause)));
        }
    }

    fn failure_document(&self, error: &str, code: &str) {
        self.document(&Failure { success: false, error: error.to_owned(), code });
    }

    fn may_write_document(&self) -> bool {
        let streams = self.streams();
        streams.is_stream || !streams.has_document
    }

    fn labelled(&self, paint: Paint, label: &Message, message: &Message) {
        let label = painted(paint, &label.render(self.style.lang));
        self.write_err(&format!("{label} {}\n", self.sentence(message)));
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
mod tests {
    use super::super::testing::{Broken, capture, json_style, zh};
    use super::*;

    #[test]
    fn a_failure_is_a_sentence_with_its_causes_and_with_json_one_document() {
        let cause = io::Error::other("disk \u{1b}[31m on fire");
        let message = text::model::service_not_found("a\u{7}b");
        let fault = Fault::caused(FaultKind::Unavailable, message, &cause);
        let (output, streams) = capture(Style::default());
        assert_eq!(output.fault(&fault), ExitCode::Unavailable);
        let expected = "error: no service is named `a\\u{7}b`; `pmctl service list` shows all of \
                        them\n  caused by: disk \\u{1b}[31m on fire\n";
        assert_eq!((streams.out(), streams.err()), (String::new(), expected.to_owned()));

        let (output, streams) = capture(json_style());
        output.fault(&fault);
        let document: serde_json::Value = serde_json::from_str(&streams.out()).unwrap();
        assert_eq!(document["success"], false);
        assert_eq!(document["code"], "service-not-found");
        assert_eq!(streams.err(), "");

        let (output, streams) = capture(zh());
        output.fault(&fault);
        assert!(streams.err().starts_with("错误： 没有名为“a\\u{7}b”的服务"), "{}", streams.err());
    }

    #[test]
    fn standard_output_gets_one_document_even_when_a_failure_follows_it() {
        let fault = Fault::usage(text::model::service_not_found("a"));
        let (output, streams) = capture(json_style());
        output.done(&text::cli::word_yes());
        output.fault(&fault);
        assert!(serde_json::from_str::<serde_json::Value>(&streams.out()).is_ok());
        assert!(streams.err().starts_with("error: "));

        let (output, streams) = capture(json_style());
        output.begin_stream();
        output.done(&text::cli::word_yes());
        output.fault(&fault);
        let lines: Vec<serde_json::Value> =
            streams.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((lines.len(), &lines[1]["success"]), (2, &serde_json::Value::Bool(false)));
    }

    #[test]
    fn several_mistakes_are_a_line_each_and_one_document() {
        let mistakes = [text::model::name_empty("service"), text::model::port_out_of_range("0")];
        let (output, streams) = capture(Style::default());
        assert_eq!(output.mistakes(&mistakes), ExitCode::Usage);
        assert_eq!(streams.err().lines().count(), 2);
        let (output, streams) = capture(json_style());
        output.mistakes(&mistakes);
        let document: serde_json::Value = serde_json::from_str(&streams.out()).unwrap();
        assert_eq!(document["code"], "settings-invalid");
        assert!(document["error"].as_str().is_some_and(|e| e.contains("; `0` is not a port")));
    }

    #[test]
    fn a_line_that_clap_refuses_is_a_failure_document_with_json() {
        let refuse = |line: &str| {
            let error = crate::cli::help::command(crate::text::Lang::En)
                .try_get_matches_from(line.split(' '))
                .unwrap_err();
            let (output, streams) = capture(json_style());
            let code = output.stop(&Stop::Clap(Box::new(error)));
            (code, serde_json::from_str::<serde_json::Value>(&streams.out()))
        };
        let (code, document) = refuse("pmctl status --nonsense");
        let document = document.unwrap();
        assert_eq!((code, &document["code"]), (ExitCode::Usage, &"usage".into()));
        assert_eq!(document["error"], "unexpected argument '--nonsense' found");
        let (_, document) = refuse("pmctl");
        assert!(document.unwrap()["error"].as_str().is_some_and(|e| e.contains("pmctl help")));
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure_but_a_full_disk_is() {
        for (kind, expected) in [
            (io::ErrorKind::BrokenPipe, ExitCode::Success),
            (io::ErrorKind::StorageFull, ExitCode::Failed),
        ] {
            let clock = || Timestamp::from_millis(0);
            let output =
                Output::new(Style::default(), Box::new(Broken(kind)), Box::new(io::sink()), clock);
            assert!(output.is_open());
            output.done(&text::cli::word_yes());
            output.done(&text::cli::word_yes());
            assert!(!output.is_open());
            assert_eq!(output.finish(ExitCode::Success), expected, "{kind}");
        }
    }

    #[test]
    fn notes_are_left_out_when_quiet_and_details_unless_asked_for() {
        let said = |verbosity| {
            let (output, streams) = capture(Style { verbosity, ..Style::default() });
            output.note(&text::cli::word_yes());
            output.warning(&text::cli::word_yes());
            output.detail(&text::cli::word_yes());
            streams.err()
        };
        assert_eq!(said(-1), "");
        assert_eq!(said(0), "note: yes\nwarning: yes\n");
        assert_eq!(said(1).lines().count(), 3);
    }

    #[test]
    fn only_a_terminal_is_cleared_between_screens() {
        let screens = |style: Style| {
            let (output, streams) = capture(style);
            for _ in 0..2 {
                output.begin_screen();
                output.done(&text::cli::word_yes());
            }
            streams.out()
        };
        assert_eq!(screens(Style::default()), "yes\n\nyes\n");
        let terminal = Style { screen: true, ..Style::default() };
        assert_eq!(screens(terminal).matches("\u{1b}[H\u{1b}[2J").count(), 2);
        assert_eq!(screens(json_style()).lines().count(), 2);
    }
}
