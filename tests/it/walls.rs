//! The rooms of `src` name only the rooms they may, have a sign at the door, and stay small.

use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms a room may name. `cli` builds contexts out of everything.
const ALLOWED: &[(&str, &[&str])] = &[
    ("text", &[]),
    ("trust", &[]),
    ("model", &["text"]),
    ("lifecycle", &["model", "text"]),
    ("store", &["model", "text"]),
    ("host", &["model", "text"]),
    ("config", &["model", "text"]),
    ("proxy", &["lifecycle", "model", "text", "trust"]),
    ("eureka", &["model", "text", "trust"]),
    ("ops", &["model", "store", "host", "eureka", "text"]),
    ("rpc", &["ops", "model", "text", "trust"]),
    ("api", &["ops", "model", "text"]),
    (
        "serve",
        &[
            "text",
            "model",
            "lifecycle",
            "store",
            "host",
            "config",
            "eureka",
            "proxy",
            "ops",
            "rpc",
            "api",
        ],
    ),
    ("selftest", &["text", "model", "lifecycle", "host", "eureka", "serve"]),
    (
        "cli",
        &[
            "selftest",
            "text",
            "model",
            "lifecycle",
            "store",
            "host",
            "config",
            "eureka",
            "proxy",
            "ops",
            "rpc",
            "api",
            "serve",
        ],
    ),
];

const MOST_LINES: usize = 500;

struct Source {
    /// Below `src`, with slashes.
    path: String,
    /// First folder below `src`; `None` for the files at the top.
    room: Option<String>,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    assert!(!files.is_empty(), "no source below {}", root.display());
    let below = |path: &PathBuf| path.strip_prefix(&root).expect("below src").to_path_buf();
    files
        .iter()
        .map(|path| {
            let below = below(path);
            let mut parts =
                below.components().map(|c| c.as_os_str().to_string_lossy().into_owned());
            let first = parts.next().unwrap_or_default();
            Source {
                room: parts.next().map(|_| first),
                path: below.to_string_lossy().replace('\\', "/"),
                text: fs::read_to_string(path).expect("a source file"),
            }
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of src") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// The text without what stands behind `//` on a line.
fn code(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// First path segments after `crate::` (or the library's own name) in a file, with their lines;
/// the outer names of a group such as `crate::{a::{b, c}, d}` too.
fn rooms_named(text: &str) -> Vec<(usize, String)> {
    let code = code(text);
    let mut named = Vec::new();
    for door in ["crate::", "pmctl::"] {
        for (at, _) in code.match_indices(door) {
            // `other_crate::` is no door.
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let line = code[..at].matches('\n').count() + 1;
            let after = &code[at + door.len()..];
            named.extend(first_segments(after).into_iter().map(|name| (line, name)));
        }
    }
    named
}

fn first_segments(path: &str) -> Vec<String> {
    let ident = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![ident(path)];
    };
    let (mut names, mut depth) = (vec![ident(group)], 1);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(ident(&group[at + 1..])),
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn no_room_names_a_room_it_may_not() {
    let rooms: Vec<&str> = ALLOWED.iter().map(|(room, _)| *room).collect();
    let mut wrong = Vec::new();
    for source in sources() {
        // `lib.rs` names all rooms, `main.rs` the command line.
        let Some(room) = &source.room else { continue };
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| name == room) else {
            wrong.push(format!("src/{}: the room `{room}` is not in the plan", source.path));
            continue;
        };
        for (line, named) in rooms_named(&source.text) {
            let is_room = rooms.contains(&named.as_str());
            if is_room && named != *room && !allowed.contains(&named.as_str()) {
                wrong.push(format!("src/{}:{line}: `{room}` may not name `{named}`", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_room_has_a_sign_at_its_door_and_every_file_a_doc() {
    let mut wrong = Vec::new();
    for source in sources() {
        // A room's unit tests that fill a file of their own need no sign.
        if !source.text.starts_with("//!") && !source.path.ends_with("tests.rs") {
            wrong.push(format!("src/{}: does not begin with a module doc", source.path));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_source_file_is_longer_than_one_subject() {
    let long: Vec<String> = sources()
        .iter()
        .map(|source| (source.text.lines().count(), &source.path))
        .filter(|(lines, _)| *lines > MOST_LINES)
        .map(|(lines, path)| format!("src/{path}: {lines} lines, at most {MOST_LINES}"))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn the_wall_test_sees_every_way_to_name_a_room() {
    let text = "use crate::store::Store; // crate::api\nuse crate::{\n  host::{api, x},\n  ops::X,\n};\n\
                use other_crate::cli;\nlet a = pmctl::rpc::f();\n";
    let named: Vec<String> = rooms_named(text).into_iter().map(|(_, name)| name).collect();
    assert_eq!(named, ["store", "host", "ops", "rpc"]);
}
