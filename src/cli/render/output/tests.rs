use super::*;
use crate::cli::render::testing::{Broken, capture, json_style, zh};

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
    assert!(streams.err().starts_with("错误：没有名为“a\\u{7}b”的服务"), "{}", streams.err());
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
        output.detail(&text::cli::word_yes());
        streams.err()
    };
    assert_eq!(said(-1), "");
    assert_eq!(said(0), "note: yes\n");
    assert_eq!(said(1).lines().count(), 2);
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
