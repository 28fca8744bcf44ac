//! Build steps: the gRPC code from `proto/`, the catalogue of sentences from `src/text/`, the
//! embedded migrations from `migrations/`. Needs nothing but Rust: `protox` compiles the protos.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    say_who_builds();
    compile_protos(&out)?;
    fs::write(out.join("catalogue.rs"), catalogue()?)?;
    fs::write(out.join("migrations.rs"), migrations("migrations/sqlite")?)?;
    Ok(())
}

/// Tells Cargo what a rebuild depends on.
#[expect(
    clippy::disallowed_macros,
    reason = "standard output is how a build script talks to Cargo"
)]
fn rerun_if_changed(path: &str) {
    println!("cargo:rerun-if-changed={path}");
}

/// `built_by_root`: for tests that need another user of the machine, which only root can be.
#[expect(
    clippy::disallowed_macros,
    reason = "standard output is how a build script talks to Cargo"
)]
fn say_who_builds() {
    println!("cargo:rustc-check-cfg=cfg(built_by_root)");
    #[cfg(unix)]
    if env::var_os("OUT_DIR")
        .and_then(|out| fs::metadata(out).ok())
        .is_some_and(|out| std::os::unix::fs::MetadataExt::uid(&out) == 0)
    {
        println!("cargo:rustc-cfg=built_by_root");
    }
}

fn compile_protos(out: &Path) -> Result<()> {
    rerun_if_changed("proto");
    let descriptors = protox::compile(["proto/pmctl/v1/control.proto"], ["proto"])?;
    let descriptor_path = out.join("pmctl.v1.bin");
    tonic_prost_build::configure()
        // The client brings its own connection, so that it can tell why a call failed.
        .build_transport(false)
        .file_descriptor_set_path(&descriptor_path)
        .compile_fds(descriptors.clone())?;
    // `compile_fds` takes the set ready-made and writes none, reflection needs it.
    fs::write(&descriptor_path, prost_bytes(&descriptors))?;
    Ok(())
}

fn prost_bytes(descriptors: &impl protox::prost::Message) -> Vec<u8> {
    descriptors.encode_to_vec()
}

// ---- the catalogue -----------------------------------------------------------------------

const LANGUAGES: [&str; 2] = ["en", "zh-CN"];

struct Sentence {
    file: String,
    args: Vec<String>,
    texts: [String; LANGUAGES.len()],
}

fn catalogue() -> Result<String> {
    rerun_if_changed("src/text");
    let mut sentences: BTreeMap<String, Sentence> = BTreeMap::new();
    let files = toml_files(&format!("src/text/{}", LANGUAGES[0]))?;
    for file in &files {
        let tables = LANGUAGES
            .iter()
            .map(|lang| read_table(&format!("src/text/{lang}/{file}.toml")))
            .collect::<Result<Vec<_>>>()?;
        for (key, text) in &tables[0] {
            let args = placeholders(text);
            let mut texts: [String; LANGUAGES.len()] = Default::default();
            for (at, lang) in LANGUAGES.iter().enumerate() {
                let text = tables[at]
                    .get(key)
                    .ok_or_else(|| format!("src/text/{lang}/{file}.toml lacks `{key}`"))?;
                let (mut theirs, mut ours) = (placeholders(text), args.clone());
                theirs.sort();
                ours.sort();
                if theirs != ours {
                    return Err(format!("`{key}` has other placeholders in {lang}").into());
                }
                texts[at] = text.clone();
            }
            let sentence = Sentence { file: file.clone(), args, texts };
            if sentences.insert(key.clone(), sentence).is_some() {
                return Err(format!("`{key}` stands in two files of the catalogue").into());
            }
        }
        for (at, lang) in LANGUAGES.iter().enumerate().skip(1) {
            if let Some(key) = tables[at].keys().find(|key| !tables[0].contains_key(*key)) {
                return Err(format!("src/text/{lang}/{file}.toml alone has `{key}`").into());
            }
        }
    }
    Ok(generate(&files, &sentences)?)
}

fn generate(
    files: &[String],
    sentences: &BTreeMap<String, Sentence>,
) -> std::result::Result<String, std::fmt::Error> {
    let mut code = String::from("static CATALOGUE: &[message::Entry] = &[\n");
    for (key, s) in sentences {
        let [en, zh] = &s.texts;
        writeln!(
            code,
            "message::Entry {{ code: {key:?}, args: &{:?}, en: {en:?}, zh_cn: {zh:?} }},",
            s.args
        )?;
    }
    code.push_str("];\n");
    for file in files {
        let module = file.replace('-', "_");
        writeln!(code, "#[doc = \"Sentences of `{file}.toml`.\"]\npub mod {module} {{")?;
        code.push_str("#[allow(unused_imports)] use std::fmt::Display; use super::Message;\n");
        for (index, (key, s)) in sentences.iter().enumerate() {
            // Help texts are looked up by name, a constructor for each would be dead code.
            if s.file != *file {
                continue;
            }
            let name = key.replace('-', "_");
            let params: Vec<String> = s.args.iter().map(|a| format!("{a}: impl Display")).collect();
            let values: Vec<String> = s.args.iter().map(|a| format!("{a}.to_string()")).collect();
            writeln!(
                code,
                "#[doc = {:?}]\npub fn {name}({}) -> Message {{ Message::new({index}, vec![{}]) }}",
                s.texts[0],
                params.join(", "),
                values.join(", ")
            )?;
        }
        code.push_str("}\n");
    }
    Ok(code)
}

fn toml_files(folder: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "toml")
            && let Some(stem) = path.file_stem().and_then(|s| s.to_str())
        {
            names.push(stem.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn read_table(path: &str) -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(path).map_err(|e| format!("cannot read {path}: {e}"))?;
    Ok(toml::from_str(&text).map_err(|e| format!("{path}: {e}"))?)
}

/// Names between braces, each once, in order of first appearance.
fn placeholders(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for part in text.split('{').skip(1) {
        if let Some((name, _)) = part.split_once('}')
            && !names.iter().any(|n| n == name)
        {
            names.push(name.to_owned());
        }
    }
    names
}

// ---- migrations --------------------------------------------------------------------------

/// `&[(version, description, sql)]` of the `NNNN_description.sql` files of `folder`, in order.
fn migrations(folder: &str) -> Result<String> {
    rerun_if_changed(folder);
    let mut rows = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        let (number, description) = name
            .split_once('_')
            .ok_or_else(|| format!("{}: not NNNN_description.sql", path.display()))?;
        let number: i64 = number.parse()?;
        let absolute = fs::canonicalize(&path)?;
        rows.insert(number, (description.replace('_', " "), absolute));
    }
    let mut code = String::from("pub(super) const MIGRATIONS: &[(i64, &str, &str)] = &[\n");
    for (number, (description, path)) in rows {
        writeln!(code, "({number}, {description:?}, include_str!({path:?})),")?;
    }
    code.push_str("];\n");
    Ok(code)
}
