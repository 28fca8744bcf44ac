//! Sentences and faults.

use super::{Need, Word, number};
use crate::model::{Fault, FaultKind};
use crate::rpc::generated as pb;
use crate::text::{self, Message};

impl From<&Message> for pb::Text {
    fn from(message: &Message) -> Self {
        Self {
            code: message.code().to_owned(),
            args: message.args().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            english: message.to_string(),
        }
    }
}

impl From<pb::Text> for Message {
    /// The sentence of this build's catalogue; one it lacks keeps the English words it came with.
    fn from(sent: pb::Text) -> Self {
        Self::from_parts(&sent.code, &sent.args)
            .unwrap_or_else(|| text::control::said_by_server(sent.english))
    }
}

impl From<&Fault> for pb::Fault {
    fn from(fault: &Fault) -> Self {
        Self {
            kind: number::<pb::FaultKind, _>(fault.kind),
            text: Some((&fault.message).into()),
            causes: fault.causes.clone(),
        }
    }
}

impl TryFrom<pb::Fault> for Fault {
    type Error = Fault;

    fn try_from(sent: pb::Fault) -> Result<Self, Fault> {
        Ok(Self {
            // A kind that only a newer server knows is still a failure of this item.
            kind: FaultKind::read(sent.kind, "fault.kind").unwrap_or(FaultKind::Internal),
            message: sent.text.answered("fault.text")?.into(),
            causes: sent.causes,
        })
    }
}
