//! What the program loads: with a library of windows in it, the system takes it for a program with
//! windows and no longer tells its console handler of a logoff or a shutdown.

use std::fs;

#[test]
fn no_library_of_windows_and_menus_is_loaded() {
    let image = fs::read(env!("CARGO_BIN_EXE_pmctl")).expect("the program");
    let libraries = imported(&image).expect("a table of imports");
    assert!(libraries.iter().any(|name| name == "kernel32.dll"), "{libraries:?}");
    for name in ["user32.dll", "gdi32.dll", "shell32.dll", "comctl32.dll", "ole32.dll"] {
        assert!(!libraries.iter().any(|library| library == name), "{name} in {libraries:?}");
    }
}

/// The names of the libraries in the import table of a 64-bit program, in small letters.
fn imported(image: &[u8]) -> Option<Vec<String>> {
    let short = |at: usize| Some(u16::from_le_bytes(*image.get(at..)?.first_chunk()?) as usize);
    let long = |at: usize| Some(u32::from_le_bytes(*image.get(at..)?.first_chunk()?) as usize);
    let header = long(0x3c)?;
    let (sections, optional) = (short(header + 6)?, header + 24);
    let first_section = optional + short(header + 20)?;
    // Where something lies in the file that lies there in memory.
    let in_file = |address: usize| {
        (0..sections).find_map(|n| {
            let section = first_section + n * 40;
            let (start, raw) = (long(section + 12)?, long(section + 20)?);
            let length = long(section + 16)?;
            (start..start + length).contains(&address).then(|| address - start + raw)
        })
    };
    // The second of the directories behind the optional header's fixed part of a 64-bit program.
    let mut entry = in_file(long(optional + 112 + 8)?)?;
    let mut names = Vec::new();
    loop {
        let name = long(entry + 12)?;
        if name == 0 {
            return Some(names);
        }
        let text = image.get(in_file(name)?..)?.split(|byte| *byte == 0).next()?;
        names.push(String::from_utf8_lossy(text).to_ascii_lowercase());
        entry += 20;
    }
}
