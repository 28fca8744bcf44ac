//! XML as XStream writes it (`Converters.java`), and XML read into the JSON form: an attribute is a
//! field with `@` before its name, the text beside attributes is `$`, elements of one name are a list.

use quick_xml::escape::{escape, resolve_predefined_entity};
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use serde_json::{Map, Value};

use super::nouns::{Application, Applications, DataCenterName, Instance};
use super::{Document, WireError, names};

/// Elements within elements; an application list has five.
const MAX_DEPTH: usize = 16;

/// A document as text.
pub(super) fn encode(document: &Document<'_>) -> String {
    let mut out = Writer(String::new());
    match document {
        Document::Instance(it) => out.element("instance", "", |out| instance(out, it)),
        Document::Application(it) => out.element("application", "", |out| application(out, it)),
        Document::Applications(it) => out.element("applications", "", |out| applications(out, it)),
    }
    out.0
}

struct Writer(String);

impl Writer {
    /// `attributes` are written as they are. An element without content is written short.
    fn element(&mut self, name: &str, attributes: &str, content: impl FnOnce(&mut Self)) {
        let name = names::encode(name);
        let begin = format!("<{name}{attributes}>");
        self.0.push_str(&begin);
        let before = self.0.len();
        content(self);
        if self.0.len() == before {
            self.0.pop();
            self.0.push_str("/>");
        } else {
            self.0.push_str(&format!("</{name}>"));
        }
    }

    fn leaf(&mut self, name: &str, text: &str) {
        self.element(name, "", |out| out.text(text));
    }

    /// Characters that no XML document may have would make the whole list unreadable.
    fn text(&mut self, text: &str) {
        let is_allowed = |c: char| {
            matches!(c, '\t' | '\n' | '\r') || (' '..'\u{fffe}').contains(&c) || c > '\u{ffff}'
        };
        let text: String =
            text.chars().map(|c| if is_allowed(c) { c } else { '\u{fffd}' }).collect();
        // A bare carriage return would be read as a line feed.
        self.0.push_str(&escape(text.as_str()).replace('\r', "&#13;"));
    }

    fn map<'a>(
        &mut self,
        name: &str,
        map: impl ExactSizeIterator<Item = (&'a String, &'a String)>,
    ) {
        let class = match map.len() {
            0 => " class=\"java.util.Collections$EmptyMap\"",
            _ => "",
        };
        self.element(name, class, |out| {
            for (key, value) in map.filter(|(key, _)| !key.is_empty()) {
                out.leaf(key, value);
            }
        });
    }
}

fn applications(out: &mut Writer, it: &Applications) {
    out.leaf("versions_delta", &it.version.to_string());
    out.leaf("apps_hashcode", &it.hash_code);
    for one in &it.applications {
        out.element("application", "", |out| application(out, one));
    }
}

fn application(out: &mut Writer, it: &Application) {
    out.leaf("name", &it.name);
    for one in &it.instances {
        out.element("instance", "", |out| instance(out, one));
    }
}

fn instance(out: &mut Writer, it: &Instance) {
    if !it.instance_id.is_empty() {
        out.leaf("instanceId", &it.instance_id);
    }
    out.leaf("hostName", &it.host_name);
    out.leaf("app", &it.app);
    out.leaf("ipAddr", &it.ip_addr);
    if let Some(sid) = &it.sid {
        out.leaf("sid", sid);
    }
    out.leaf("status", it.status.as_str());
    // Spelt so in XML only; readers of both spellings exist (Netflix/eureka issue 1051).
    out.leaf("overriddenstatus", it.overridden_status.as_str());
    for (name, port) in [("port", it.port), ("securePort", it.secure_port)] {
        let enabled = format!(" enabled=\"{}\"", port.enabled);
        out.element(name, &enabled, |out| out.text(&port.number.to_string()));
    }
    out.leaf("countryId", &it.country_id.to_string());
    if let Some(center) = &it.data_center {
        let class = format!(" class=\"{}\"", center.name.class());
        out.element("dataCenterInfo", &class, |out| {
            out.leaf("name", center.name.as_str());
            if center.name == DataCenterName::Amazon {
                out.map("metadata", center.metadata.iter());
            }
        });
    }
    if let Some(lease) = &it.lease {
        out.element("leaseInfo", "", |out| {
            for (name, value) in lease.fields() {
                out.leaf(name, &value.to_string());
            }
        });
    }
    out.map("metadata", it.metadata.iter());
    for (name, value) in it.auto_fields() {
        out.leaf(name, &value);
    }
    // Of the fields nobody knows those that are plain text: others have no one form in XML.
    for (name, value) in &it.extra {
        if let (Value::String(text), false) = (value, name.is_empty()) {
            out.leaf(name, text);
        }
    }
}

/// The name of the root element, and the document in the JSON form.
pub(super) fn parse(body: &[u8]) -> Result<(String, Value), WireError> {
    let text = std::str::from_utf8(body).map_err(|_| refuse("it is not UTF-8"))?;
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    loop {
        let event = reader.read_event().map_err(|error| refuse(error.to_string()))?;
        match event {
            Event::Start(start) => {
                if open.len() >= MAX_DEPTH {
                    return Err(refuse("its elements stand too deep"));
                }
                open.push(Element::begin(&start)?);
            }
            Event::Empty(start) => close(Element::begin(&start)?, &mut open, &mut root)?,
            Event::End(_) => {
                let element = open.pop().ok_or_else(|| refuse("an element ends unbegun"))?;
                close(element, &mut open, &mut root)?;
            }
            Event::Text(part) => append(&mut open, &part.xml10_content()),
            Event::CData(part) => append(&mut open, &part.xml10_content()),
            Event::GeneralRef(name) => {
                let char_ref = name.resolve_char_ref().map_err(|e| refuse(e.to_string()))?;
                match char_ref {
                    Some(c) => append(&mut open, c.encode_utf8(&mut [0; 4])),
                    None => {
                        let name = name.xml10_content();
                        let known = resolve_predefined_entity(&name);
                        append(&mut open, known.ok_or_else(|| refuse("it has an unknown entity"))?);
                    }
                }
            }
            // It could declare entities that grow without bound.
            Event::DocType(_) => return Err(refuse("it has a document type")),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    match (root, open.is_empty()) {
        (Some(root), true) => Ok(root),
        _ => Err(refuse("it ends too early")),
    }
}

fn refuse(why: impl Into<String>) -> WireError {
    WireError::NotXml(why.into())
}

struct Element {
    name: String,
    fields: Map<String, Value>,
    text: String,
    has_children: bool,
}

impl Element {
    fn begin(start: &BytesStart<'_>) -> Result<Self, WireError> {
        let mut fields = Map::new();
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|error| refuse(error.to_string()))?;
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .map_err(|error| refuse(error.to_string()))?;
            fields.insert(format!("@{}", attribute.key.as_ref()), value.into_owned().into());
        }
        let name = names::decode(start.name().as_ref());
        Ok(Self { name, fields, text: String::new(), has_children: false })
    }

    /// A list where an element of that name stands already.
    fn add(&mut self, name: String, value: Value) {
        self.has_children = true;
        match self.fields.get_mut(&name) {
            None => drop(self.fields.insert(name, value)),
            Some(Value::Array(items)) => items.push(value),
            Some(one) => *one = Value::Array(vec![one.take(), value]),
        }
    }

    fn value(mut self) -> Value {
        if self.fields.is_empty() {
            return Value::String(self.text);
        }
        // Nothing for an empty one: a map without entries must not get one.
        if !self.has_children && !self.text.trim().is_empty() {
            self.fields.insert("$".to_owned(), Value::String(self.text));
        }
        Value::Object(self.fields)
    }
}

/// Text between elements is layout.
fn append(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

fn close(
    element: Element,
    open: &mut [Element],
    root: &mut Option<(String, Value)>,
) -> Result<(), WireError> {
    match open.last_mut() {
        Some(parent) => {
            let name = element.name.clone();
            parent.add(name, element.value());
        }
        None if root.is_some() => return Err(refuse("it has two roots")),
        None => *root = Some((element.name.clone(), element.value())),
    }
    Ok(())
}
