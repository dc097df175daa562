//! The members of a line's object, their values unparsed.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::document::shorten;
use crate::protocol::text::{QUOTED, decoded, unescaped};

/// The members that mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Member {
    Id,
    Response,
    Error,
    Stream,
    Chunk,
    ChunkBase64,
    End,
    Ready,
    Concurrency,
    Cancel,
}

impl Member {
    const ALL: [(Self, &'static str); 10] = [
        (Self::Id, "id"),
        (Self::Response, "response"),
        (Self::Error, "error"),
        (Self::Stream, "stream"),
        (Self::Chunk, "chunk"),
        (Self::ChunkBase64, "chunkBase64"),
        (Self::End, "end"),
        (Self::Ready, "ready"),
        (Self::Concurrency, "concurrency"),
        (Self::Cancel, "cancel"),
    ];

    fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| known.as_bytes() == name).map(|(member, _)| *member)
    }

    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(member, _)| *member == self).map_or("", |(_, name)| name)
    }

    pub(super) fn is_reply(self) -> bool {
        matches!(self, Self::Response | Self::Error | Self::Stream | Self::Chunk | Self::ChunkBase64 | Self::End)
    }

    /// After a reply with it, nothing more of that answer comes.
    pub(super) fn is_last(self) -> bool {
        matches!(self, Self::Response | Self::Error | Self::End)
    }
}

/// A line that does not begin as an object.
pub(super) struct NotAnObject;

/// The members of a line's object, their values unparsed.
#[derive(Debug, Default)]
pub(super) struct Envelope<'a> {
    /// In order. One whose value did not come (the line is broken there) has none.
    pub(super) members: Vec<(Member, Option<&'a RawValue>)>,
    /// The first member that means nothing here.
    pub(super) unknown: Option<String>,
    /// The first member that came twice.
    pub(super) duplicate: Option<String>,
    /// Where and why the line stops being JSON.
    pub(super) broken: Option<serde_json::Error>,
}

impl<'a> Envelope<'a> {
    pub(super) fn read(line: &'a [u8]) -> Result<Self, NotAnObject> {
        if !line.trim_ascii_start().starts_with(b"{") {
            return Err(NotAnObject);
        }
        let mut envelope = Self::default();
        let mut deserializer = serde_json::Deserializer::from_slice(line);
        let outcome = deserializer.deserialize_map(&mut envelope).and_then(|()| deserializer.end());
        envelope.broken = outcome.err();
        Ok(envelope)
    }

    pub(super) fn value(&self, member: Member) -> Option<&'a str> {
        self.members.iter().find(|(found, _)| *found == member).and_then(|(_, value)| value.map(RawValue::get))
    }

    /// The value of `id`, where it is a string.
    pub(super) fn id(&self) -> Option<Cow<'a, str>> {
        let text = self.value(Member::Id)?.strip_prefix('"')?.strip_suffix('"')?;
        Some(if text.contains('\\') { Cow::Owned(decoded(&format!("\"{text}\""))) } else { Cow::Borrowed(text) })
    }

    pub(super) fn reply_member(&self) -> Option<Member> {
        self.members.iter().map(|(member, _)| *member).find(|member| member.is_reply())
    }

    /// The line begins as a reply: the `id` is followed by a reply member.
    pub(super) fn id_comes_first(&self) -> bool {
        let position = |wanted: &dyn Fn(Member) -> bool| self.members.iter().position(|(member, _)| wanted(*member));
        match (position(&|member| member == Member::Id), position(&Member::is_reply)) {
            (Some(id), Some(reply)) => id < reply,
            _ => false,
        }
    }

    /// What is wrong with a line on a reply channel.
    pub(super) fn trouble(&self, otherwise: &str) -> String {
        match &self.broken {
            Some(error) => format!("is not valid JSON ({error})"),
            None => otherwise.to_owned(),
        }
    }
}

impl<'de> Visitor<'de> for &mut Envelope<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key { member, name }) = map.next_key()? {
            if let Some(name) = name {
                self.unknown.get_or_insert(name);
                map.next_value::<&RawValue>()?;
                continue;
            }
            let Some(member) = member else { continue };
            if self.members.iter().any(|(found, _)| *found == member) {
                self.duplicate.get_or_insert_with(|| member.name().to_owned());
            }
            // Noted before its value is read: where the value is broken, the member has still been there.
            self.members.push((member, None));
            let value = map.next_value()?;
            if let Some(last) = self.members.last_mut() {
                last.1 = Some(value);
            }
        }
        Ok(())
    }
}

/// A member's name: one that is known, or its text.
pub(super) struct Key {
    pub(super) member: Option<Member>,
    pub(super) name: Option<String>,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As it is written, which checks it in full and lets it hold a lone surrogate. Read as text it could not hold one, and read
        // as bytes it would pass with control characters and without being UTF-8.
        let written = <&RawValue>::deserialize(deserializer)?.get();
        let member = match written.as_bytes() {
            [b'"', plain @ .., b'"'] if !plain.contains(&b'\\') => Member::named(plain),
            _ => Member::named(&unescaped(written)),
        };
        let name = member.is_none().then(|| {
            let mut name = decoded(written);
            shorten(&mut name, QUOTED);
            name
        });
        Ok(Key { member, name })
    }
}
