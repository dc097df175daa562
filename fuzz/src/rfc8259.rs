//! JSON as RFC 8259 has it, read byte by byte into a tree.

/// The text of a string: its code points, lone surrogates among them.
pub type Text = Vec<u32>;

/// A value, and how it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node<'a> {
    /// Its bytes, without white space around them.
    pub raw: &'a [u8],
    /// What it is.
    pub value: Value<'a>,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, which only its bytes tell.
    Number,
    /// A string.
    Text(Text),
    /// An array.
    List(Vec<Node<'a>>),
    /// An object, its members in order, each as often as it comes.
    Object(Vec<(Text, Node<'a>)>),
}

impl<'a> Node<'a> {
    /// The members of an object.
    #[must_use]
    pub fn members(&self) -> Option<&[(Text, Node<'a>)]> {
        if let Value::Object(members) = &self.value { Some(members) } else { None }
    }

    /// The text of a string.
    #[must_use]
    pub fn text(&self) -> Option<&Text> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    /// The last member of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Node<'a>> {
        self.members()?.iter().rev().find(|(found, _)| is(found, name)).map(|(_, node)| node)
    }

    /// The same value: as numbers are written, and objects' members in order.
    #[must_use]
    pub fn same(&self, other: &Node<'_>) -> bool {
        match (&self.value, &other.value) {
            (Value::Number, Value::Number) => self.raw == other.raw,
            (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b)),
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|((name, a), (named, b))| name == named && a.same(b))
            }
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Text(a), Value::Text(b)) => a == b,
            _ => false,
        }
    }
}

/// Whether a text is this one.
#[must_use]
pub fn is(text: &Text, expected: &str) -> bool {
    text.iter().copied().eq(expected.chars().map(u32::from))
}

/// A text as Rust has it, each lone surrogate as one U+FFFD.
#[must_use]
pub fn string(text: &Text) -> String {
    text.iter().map(|point| char::from_u32(*point).unwrap_or('\u{fffd}')).collect()
}

/// A text in which as many U+FFFD as stand together are one: how many a lone surrogate becomes says no rule.
#[must_use]
pub fn squeezed(text: &str) -> String {
    let mut squeezed = String::new();
    for character in text.chars() {
        if character != '\u{fffd}' || !squeezed.ends_with('\u{fffd}') {
            squeezed.push(character);
        }
    }
    squeezed
}

/// The one value that a text is; `None` where it is not JSON.
#[must_use]
pub fn parse(text: &[u8]) -> Option<Node<'_>> {
    std::str::from_utf8(text).ok()?;
    let mut parser = Parser { text, at: 0 };
    parser.space();
    let node = parser.node()?;
    parser.space();
    (parser.at == text.len()).then_some(node)
}

/// The members that a text begins with which is no JSON, but begins as an object: the last one perhaps without its value.
#[must_use]
pub fn begun(text: &[u8]) -> Vec<(Text, Option<Node<'_>>)> {
    let mut parser = Parser { text, at: 0 };
    let mut members = Vec::new();
    parser.space();
    if parser.eat(b"{").is_some() {
        let _ = parser.begun(&mut members);
    }
    members
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, token: &[u8]) -> Option<()> {
        self.text[self.at..].starts_with(token).then(|| self.at += token.len())
    }

    fn node(&mut self) -> Option<Node<'a>> {
        let start = self.at;
        let value = match self.peek()? {
            b'n' => self.eat(b"null").map(|()| Value::Null)?,
            b't' => self.eat(b"true").map(|()| Value::Bool(true))?,
            b'f' => self.eat(b"false").map(|()| Value::Bool(false))?,
            b'"' => Value::Text(self.string()?),
            b'[' => self.list()?,
            b'{' => self.object()?,
            _ => self.number()?,
        };
        Some(Node { raw: &self.text[start..self.at], value })
    }

    fn list(&mut self) -> Option<Value<'a>> {
        self.eat(b"[")?;
        let mut nodes = Vec::new();
        self.space();
        if self.eat(b"]").is_some() {
            return Some(Value::List(nodes));
        }
        loop {
            self.space();
            nodes.push(self.node()?);
            self.space();
            if self.eat(b"]").is_some() {
                return Some(Value::List(nodes));
            }
            self.eat(b",")?;
        }
    }

    fn object(&mut self) -> Option<Value<'a>> {
        self.eat(b"{")?;
        let mut members = Vec::new();
        self.begun(&mut members)?;
        Some(Value::Object(members.into_iter().filter_map(|(name, node)| Some((name, node?))).collect()))
    }

    /// The rest of an object. What was read of a broken one is in `members`.
    fn begun(&mut self, members: &mut Vec<(Text, Option<Node<'a>>)>) -> Option<()> {
        self.space();
        if self.eat(b"}").is_some() {
            return Some(());
        }
        loop {
            self.space();
            let name = self.string()?;
            members.push((name, None));
            self.space();
            self.eat(b":")?;
            self.space();
            let node = self.node()?;
            members.last_mut()?.1 = Some(node);
            self.space();
            if self.eat(b"}").is_some() {
                return Some(());
            }
            self.eat(b",")?;
        }
    }

    fn number(&mut self) -> Option<Value<'a>> {
        let _ = self.eat(b"-");
        if self.eat(b"0").is_none() {
            self.digits()?;
        }
        if self.eat(b".").is_some() {
            self.digits()?;
        }
        if self.eat(b"e").or_else(|| self.eat(b"E")).is_some() {
            let _ = self.eat(b"+").or_else(|| self.eat(b"-"));
            self.digits()?;
        }
        Some(Value::Number)
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn string(&mut self) -> Option<Text> {
        self.eat(b"\"")?;
        let mut text = Text::new();
        loop {
            let start = self.at;
            while !matches!(self.peek()?, b'"' | b'\\') {
                if self.peek()? < 0x20 {
                    return None;
                }
                self.at += 1;
            }
            text.extend(std::str::from_utf8(&self.text[start..self.at]).ok()?.chars().map(u32::from));
            if self.eat(b"\"").is_some() {
                return Some(text);
            }
            self.at += 1;
            let escaped = self.peek()?;
            self.at += 1;
            text.push(match escaped {
                b'"' | b'\\' | b'/' => u32::from(escaped),
                b'b' => 8,
                b'f' => 12,
                b'n' => 10,
                b'r' => 13,
                b't' => 9,
                b'u' => self.code_point()?,
                _ => return None,
            });
        }
    }

    fn code_point(&mut self) -> Option<u32> {
        let high = self.hex()?;
        let after = self.at;
        if (0xd800..0xdc00).contains(&high) && self.eat(b"\\u").is_some() {
            match self.hex()? {
                low @ 0xdc00..0xe000 => return Some(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)),
                _ => self.at = after,
            }
        }
        Some(high)
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |number, digit| Some(number * 16 + char::from(*digit).to_digit(16)?))
    }
}
