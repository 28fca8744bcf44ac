//! The catalogue of sentences as its files have it, so that a test can follow a sentence from one
//! language into the other without repeating its words.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A template's fixed parts, in order.
fn parts(template: &str) -> Vec<String> {
    let mut parts = Vec::new();
    for (at, piece) in template.split('{').enumerate() {
        let fixed = match at {
            0 => piece,
            _ => piece.split_once('}').map_or(piece, |(_, after)| after),
        };
        if !fixed.is_empty() {
            parts.push(fixed.to_owned());
        }
    }
    parts
}

fn holds(text: &str, parts: &[String]) -> bool {
    let mut rest = text;
    parts.iter().all(|part| match rest.find(part.as_str()) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

fn read(language: &str) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/text").join(language);
    let mut sentences = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("the catalogue") {
        let text = fs::read_to_string(entry.expect("a catalogue file").path()).expect("its text");
        let table: BTreeMap<String, String> = toml::from_str(&text).expect("a catalogue table");
        sentences.extend(table);
    }
    sentences
}

/// The fixed parts of the English sentence whose Chinese one reads like `chinese`.
#[track_caller]
pub fn sentence_like(chinese: &str) -> Vec<String> {
    let (from, to) = (read("zh-CN"), read("en"));
    let mut fitting: Vec<(usize, &String)> = from
        .iter()
        .map(|(key, template)| (parts(template), key))
        .filter(|(parts, _)| !parts.is_empty() && holds(chinese, parts))
        .map(|(parts, key)| (parts.iter().map(String::len).sum(), key))
        .collect();
    fitting.sort();
    let (_, key) = fitting.pop().unwrap_or_else(|| panic!("no sentence reads like {chinese:?}"));
    parts(&to[key])
}

/// Every sentence, given by its fixed parts, stands on a line of `text`, each after the one before.
#[track_caller]
pub fn assert_in_order(text: &str, sentences: &[Vec<String>]) {
    let mut lines = text.lines();
    for sentence in sentences {
        assert!(
            lines.any(|line| holds(line, sentence)),
            "{sentence:?} is missing, or stands before its predecessor, in:\n{text}"
        );
    }
}

/// The lines of a stop that the contract fixes word for word, for one service `web`.
pub fn chinese_steps(signal: &str, port: u16) -> Vec<String> {
    vec![
        format!("收到 {signal} 信号，开始优雅关闭..."),
        "HTTP服务器已停止接受新连接".to_owned(),
        "状态同步已停止".to_owned(),
        "所有心跳定时器已清理".to_owned(),
        "正在停止 1 个代理服务...".to_owned(),
        format!("- 准备停止: web:{port}"),
        "所有代理服务已停止".to_owned(),
        "数据库服务状态已更新".to_owned(),
        "数据库连接已关闭".to_owned(),
        "✅ 所有服务已安全关闭".to_owned(),
    ]
}
