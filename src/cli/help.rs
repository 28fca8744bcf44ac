//! The help pages, completions and manual pages, in the reader's language.
//!
//! The texts stand in the catalogue under names that follow from the grammar: `help-service-add`
//! for a command, `help-service-add-port` for its argument, `help-service-add-examples` for what
//! stands below, `help-global-…` for the options of every command. A test fails for one that is
//! missing. What clap itself says about a line it can't parse stays English.

use std::io;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;

use super::args::{Args, SERVER_CA, with_server_ca};
use crate::config::Key;
use crate::text::{Lang, Message};

/// The grammar with its texts in `lang`.
pub fn command(lang: Lang) -> Command {
    localize(with_server_ca(Args::command()), lang)
}

/// `command` and everything below it with their texts in `lang`.
pub fn localize(command: Command, lang: Lang) -> Command {
    walk(command, "pmctl", lang)
}

/// The completion script of `shell`.
pub fn completions(shell: Shell, lang: Lang) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(lang), "pmctl", &mut script);
    script
}

/// The manual page of pmctl, as roff.
pub fn manual(lang: Lang) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command(lang)).render(&mut page)?;
    Ok(page)
}

/// A manual page for each command into `dir`, which is created: `pmctl.1`, `pmctl-serve.1`, ….
pub fn manuals(dir: &Path, lang: Lang) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(command(lang), dir)
}

/// A text of the help pages; empty where the catalogue has none, which a test excludes.
fn text(code: &str, lang: Lang) -> &'static str {
    Message::plain_text(code, lang).unwrap_or_default()
}

/// Whether every command has it.
fn is_of_all(arg: &Arg) -> bool {
    arg.is_global_set() || arg.get_id() == SERVER_CA
}

/// The catalogue's name of an argument's text.
fn code_of(arg: &Arg, path: &str) -> String {
    let owner = if is_of_all(arg) || arg.get_id() == "version" { "global" } else { path };
    format!("help-{owner}-{}", arg.get_id().as_str().replace('_', "-"))
}

/// `path` is the command's name in the catalogue: `pmctl`, `service`, `service-add`.
fn walk(command: Command, path: &str, lang: Lang) -> Command {
    let header = *command.get_styles().get_header();
    let usage = text("help-heading-usage", lang);
    let examples_heading = text("help-heading-examples", lang);
    let examples = text(&format!("help-{path}-examples"), lang);
    let mut command = command
        .about(text(&format!("help-{path}"), lang))
        .help_template(format!(
            "{{about-with-newline}}\n{header}{usage}{header:#} {{usage}}\n\n{{all-args}}{{after-help}}"
        ))
        .after_help(format!("{header}{examples_heading}{header:#}\n{examples}"));
    if command.has_subcommands() {
        command = command
            .subcommand_help_heading(text("help-heading-commands", lang))
            .subcommand_value_name(text("help-value-command", lang));
    }
    let ids: Vec<_> = command.get_arguments().map(|arg| arg.get_id().clone()).collect();
    for id in ids {
        command = command.mut_arg(id, |arg| describe(arg, path, lang));
    }
    let names: Vec<String> =
        command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        let below = if path == "pmctl" { name.clone() } else { format!("{path}-{name}") };
        command = command.mut_subcommand(name, |sub| walk(sub, &below, lang));
    }
    command
}

fn describe(arg: Arg, path: &str, lang: Lang) -> Arg {
    let mut help = text(&code_of(&arg, path), lang).to_owned();
    let values: Vec<String> =
        arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    // A switch's values are true and false, which nobody types.
    if arg.get_action().takes_values() && !values.is_empty() {
        let (label, values) = (text("help-word-values", lang), values.join(", "));
        help.push_str(&format!(" [{label}: {values}]"));
    }
    let flag = arg.get_long().map(|long| format!("--{long}"));
    let key = Key::ALL.iter().find(|key| key.flag().is_some() && key.flag() == flag.as_deref());
    // The `--ca` of a target is no setting.
    let key = key.filter(|key| **key != Key::Ca || is_of_all(&arg));
    // The registry listens where it is told, not where the control plane does.
    let key = key.filter(|key| **key != Key::Listen || path == "serve");
    if let Some(key) = key {
        help.push_str(&format!(" [{}: {}]", text("help-word-env", lang), key.env()));
    }
    let heading = match (arg.is_positional(), is_of_all(&arg)) {
        (true, _) => "help-heading-arguments",
        (_, true) => "help-heading-global",
        _ => "help-heading-options",
    };
    let takes_values = arg.get_action().takes_values();
    let arg = arg.help(help).help_heading(text(heading, lang));
    // They stand in the help already, under a label of the language.
    if takes_values { arg.hide_possible_values(true) } else { arg }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(command: &Command, path: &str, codes: &mut Vec<String>) {
        codes.push(format!("help-{path}"));
        codes.push(format!("help-{path}-examples"));
        codes.extend(command.get_arguments().map(|arg| code_of(arg, path)));
        for sub in command.get_subcommands() {
            let name = sub.get_name();
            let below = if path == "pmctl" { name.to_owned() } else { format!("{path}-{name}") };
            self::codes(sub, &below, codes);
        }
    }

    #[test]
    fn every_command_and_every_argument_has_its_text_in_both_languages() {
        let mut all = Vec::new();
        codes(&Args::command(), "pmctl", &mut all);
        for code in &all {
            let message = Message::plain(code).unwrap_or_else(|| panic!("no text `{code}`"));
            for lang in [Lang::En, Lang::ZhCn] {
                assert!(!message.render(lang).is_empty(), "{code} in {lang}");
            }
        }
        assert!(all.len() > 100, "{}", all.len());
    }

    #[test]
    fn no_example_is_too_long_for_a_line_of_80_columns() {
        let mut all = Vec::new();
        codes(&Args::command(), "pmctl", &mut all);
        for code in all.iter().filter(|code| code.ends_with("-examples")) {
            let text = text(code, Lang::En);
            assert!(text.lines().all(|line| line.chars().count() < 80), "{code}: {text}");
        }
    }

    #[test]
    fn the_grammar_holds_together_in_both_languages() {
        command(Lang::En).debug_assert();
        command(Lang::ZhCn).debug_assert();
    }

    #[test]
    fn a_help_page_is_wholly_in_its_language() {
        let mut grammar = command(Lang::ZhCn);
        grammar.build();
        let serve = grammar.find_subcommand_mut("serve").map(|c| c.render_help().to_string());
        let page = serve.unwrap_or_default();
        for part in ["用法：", "选项:", "所有命令通用的选项:", "示例：", "PMCTL_LISTEN"]
        {
            assert!(page.contains(part), "{part} in\n{page}");
        }
        for part in ["Usage", "Options:", "Print", "possible values"] {
            assert!(!page.contains(part), "{part} in\n{page}");
        }
    }

    #[test]
    fn completions_and_manuals_come_out_for_every_shell_and_command() {
        use clap::ValueEnum;
        for shell in Shell::value_variants() {
            let script = String::from_utf8(completions(*shell, Lang::En)).unwrap();
            assert!(script.contains("shutdown-timeout"), "{shell}");
        }
        let page = String::from_utf8(manual(Lang::En).unwrap()).unwrap();
        assert!(page.contains(".TH pmctl 1") && !page.contains('\u{1b}'), "{page}");
        let dir = tempfile::tempdir().unwrap();
        manuals(&dir.path().join("man1"), Lang::ZhCn).unwrap();
        assert!(dir.path().join("man1/pmctl-service-target-add.1").exists());
    }
}
