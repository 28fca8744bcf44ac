//! Lists of a registry read as they come in: of each instance just who it is and how it stands.
//!
//! A list holds everybody, and one is fetched every few seconds: neither its text nor what it says of
//! ports and pages is kept. The text is cut into instances; what remains of it around them is small,
//! and is read whole at the end.

use std::borrow::Cow;

use serde::Deserialize;

use super::nouns::{Action, Instance, InstanceStatus};
use super::{Format, WireError, read};

/// Most bytes of one instance.
const MOST_PIECE: usize = 1 << 20;

/// Most bytes of what stands around the instances.
const MOST_FRAME: usize = 8 << 20;

/// Deepest nesting around the instances.
const MOST_DEPTH: usize = 64;

/// One instance of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Name of the application, in capitals.
    pub app: String,
    /// [`Instance::id`].
    pub id: String,
    /// As it is to be taken.
    pub status: InstanceStatus,
    /// What it was told to be from outside; unknown where nobody did.
    pub overridden_status: InstanceStatus,
    /// What last happened to it.
    pub action: Option<Action>,
}

/// Who is listed, or whose entry changed of late.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roll {
    /// [`Applications::hash_code`](super::Applications::hash_code) of everything the registry has.
    pub hash_code: String,
    /// In the order of the list.
    pub listed: Vec<Listed>,
}

/// Reads a list that comes in pieces.
#[derive(Debug, Default)]
pub(in crate::eureka) struct RollReader {
    /// The text without its instances and without white space, each `null` in its place.
    frame: Vec<u8>,
    /// What is open in the frame; whether what stands in it are instances.
    open: Vec<bool>,
    /// The instance being read, and what is open in it.
    piece: Vec<u8>,
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    listed: Vec<Listed>,
}

impl RollReader {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`WireError`]: what came so far is no list, or one of a size that no registry has.
    pub(in crate::eureka) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), WireError> {
        while !bytes.is_empty() {
            bytes = match self.depth {
                0 => self.feed_frame(bytes)?,
                _ => self.feed_piece(bytes)?,
            };
        }
        Ok(())
    }

    /// The list, whole.
    ///
    /// # Errors
    /// [`WireError`]: it ended too early, or is none.
    pub(in crate::eureka) fn end(self) -> Result<Roll, WireError> {
        // A text that was cut short is no JSON, and the error says where it ends.
        let frame = [self.frame, self.piece].concat();
        let fields = read::fields_of(Format::Json, &frame, "applications")?;
        Ok(Roll { hash_code: read::hash_code(&fields)?, listed: self.listed })
    }

    /// Reads around the instances, up to the beginning of one; what was not read.
    fn feed_frame<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], WireError> {
        for (at, byte) in bytes.iter().copied().enumerate() {
            if self.frame.len() > MOST_FRAME || self.open.len() > MOST_DEPTH {
                return Err(too_large());
            }
            if self.in_string {
                self.frame.push(byte);
                self.step_in_string(byte);
                continue;
            }
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => continue,
                b'"' => self.in_string = true,
                b'[' => self.open.push(self.frame.ends_with(b"\"instance\":")),
                // One alone may stand without brackets.
                b'{' if self.open.last() == Some(&true)
                    || self.frame.ends_with(b"\"instance\":") =>
                {
                    self.depth = 1;
                    self.piece.push(byte);
                    return Ok(&bytes[at + 1..]);
                }
                b'{' => self.open.push(false),
                b']' | b'}' => drop(self.open.pop()),
                _ => {}
            }
            self.frame.push(byte);
        }
        Ok(&[])
    }

    /// Reads an instance, up to its end; what was not read.
    fn feed_piece<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], WireError> {
        for (at, byte) in bytes.iter().copied().enumerate() {
            if self.in_string {
                self.step_in_string(byte);
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth -= 1,
                _ => {}
            }
            if self.depth == 0 {
                self.piece.extend_from_slice(&bytes[..=at]);
                // One that cannot be read says nothing about the others.
                match listed(&self.piece) {
                    Ok(listed) => self.listed.push(listed),
                    Err(error) => tracing::debug!(%error, "an instance is left out"),
                }
                self.piece.clear();
                self.frame.extend_from_slice(b"null");
                return Ok(&bytes[at + 1..]);
            }
        }
        if self.piece.len() + bytes.len() > MOST_PIECE {
            return Err(too_large());
        }
        self.piece.extend_from_slice(bytes);
        Ok(&[])
    }

    fn step_in_string(&mut self, byte: u8) {
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' => self.is_escaped = true,
            b'"' => self.in_string = false,
            _ => {}
        }
    }
}

fn too_large() -> WireError {
    WireError::Field { field: "instance".to_owned(), expected: "a list of a registry" }
}

/// The few fields, as every registry writes them.
#[derive(Deserialize)]
struct Brief<'a> {
    #[serde(borrow, rename = "instanceId")]
    id: Cow<'a, str>,
    #[serde(borrow)]
    app: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow, default = "unknown", alias = "overriddenstatus", rename = "overriddenStatus")]
    overridden_status: Cow<'a, str>,
    #[serde(borrow, default, rename = "actionType")]
    action: Cow<'a, str>,
}

fn unknown() -> Cow<'static, str> {
    Cow::Borrowed(InstanceStatus::Unknown.as_str())
}

fn listed(piece: &[u8]) -> Result<Listed, WireError> {
    let status = |word: &str| InstanceStatus::from_word(word).unwrap_or(InstanceStatus::Unknown);
    match serde_json::from_slice::<Brief<'_>>(piece) {
        Ok(brief) if !brief.id.is_empty() => Ok(Listed {
            app: brief.app.to_uppercase(),
            id: brief.id.into_owned(),
            status: status(&brief.status),
            overridden_status: status(&brief.overridden_status),
            action: Action::from_word(&brief.action),
        }),
        // Written in one of the other ways that are understood.
        _ => Instance::decode(Format::Json, piece).map(|instance| Listed::from(&instance)),
    }
}

impl From<&Instance> for Listed {
    fn from(instance: &Instance) -> Self {
        Self {
            app: instance.app.clone(),
            id: instance.id().to_owned(),
            status: instance.status,
            overridden_status: instance.overridden_status,
            action: instance.action,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Application, Applications, Document};
    use super::*;

    fn read_in_pieces(text: &[u8], size: usize) -> Result<Roll, WireError> {
        let mut reader = RollReader::default();
        for piece in text.chunks(size) {
            reader.feed(piece)?;
        }
        reader.end()
    }

    fn list() -> Applications {
        let instance = |app: &str, id: &str, status| Instance {
            app: app.to_owned(),
            instance_id: id.to_owned(),
            host_name: "a \"quoted\" } host \\".to_owned(),
            status,
            metadata: [("instance".to_owned(), "{[\"]}".to_owned())].into(),
            action: Some(Action::Modified),
            ..Instance::default()
        };
        let (up, down) = (InstanceStatus::Up, InstanceStatus::Down);
        let applications = vec![
            Application { name: "A".into(), instances: vec![instance("A", "订单:1", up)] },
            Application { name: "EMPTY".into(), instances: vec![] },
            Application {
                name: "B".into(),
                instances: vec![instance("B", "1", down), instance("B", "", up)],
            },
        ];
        let hash_code = "DOWN_1_UP_2_".to_owned();
        Applications { version: 7, hash_code, applications }
    }

    #[test]
    fn a_list_in_pieces_of_any_size_says_what_the_whole_one_says() {
        let all = list();
        let text = Document::Applications(&all).encode(Format::Json);
        let expected = Roll {
            hash_code: all.hash_code.clone(),
            listed: all.instances().map(Listed::from).collect(),
        };
        assert_eq!(expected.listed.len(), 3);
        for size in [1, 2, 3, 7, 64, text.len()] {
            assert_eq!(read_in_pieces(&text, size).unwrap(), expected, "pieces of {size}");
        }
    }

    #[test]
    fn what_is_written_in_other_ways_is_read_as_a_whole_list_is() {
        let text = br#" { "applications" : { "versions__delta" : 3, "apps__hashcode" : "UP_2_",
            "application" : { "name" : "A", "instance" : { "hostName" : "h", "app" : "a",
            "status" : "gone fishing", "overriddenstatus" : "DOWN" } } } } "#;
        let whole = Applications::decode(Format::Json, text).unwrap();
        let expected: Vec<Listed> = whole.instances().map(Listed::from).collect();
        assert_eq!(expected.len(), 1);
        let roll = read_in_pieces(text, 5).unwrap();
        assert_eq!((roll.hash_code.as_str(), roll.listed), ("UP_2_", expected));
    }

    #[test]
    fn an_instance_that_cannot_be_read_leaves_the_others() {
        let text = br#"{"applications":{"apps__hashcode":"","application":[{"name":"A","instance":[
            {"instanceId":{"no":["text"]},"app":"A"},{"instanceId":"1","app":"A","status":"UP"}]}]}}"#;
        let roll = read_in_pieces(text, 9).unwrap();
        assert_eq!(roll.listed.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["1"]);
    }

    #[test]
    fn what_is_cut_short_or_no_list_is_an_error() {
        let text = Document::Applications(&list()).encode(Format::Json);
        for end in 0..text.len() {
            assert!(read_in_pieces(&text[..end], 16).is_err(), "{end} bytes");
        }
        for text in ["<html>", "{\"instance\":{}}", "{\"applications\":[1]}", "]]]}}}", "null"] {
            assert!(read_in_pieces(text.as_bytes(), 4).is_err(), "{text}");
        }
        assert!(read_in_pieces("[".repeat(MOST_DEPTH + 1).as_bytes(), 16).is_err());
        let endless = [&b"{\"instance\":{\""[..], &vec![b'a'; MOST_PIECE]].concat();
        assert!(read_in_pieces(&endless, 4096).is_err());
    }
}
