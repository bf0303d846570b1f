//! A YAML document as a tree that remembers lines and quotes.
//!
//! A reader made for values would not do: to faasd, whose YAML is that of version 1.1, `yes` is a boolean and `"yes"` is
//! text, and both it and we must say in which line. Anchors, aliases, merge keys and tags are refused: nothing in a
//! compose file for faasd needs them.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use crate::Mistake;

type Events<'text> = Parser<'text, StrInput<'text>>;

/// A value and the line it begins in.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) value: Value,
}

#[derive(Debug)]
pub(crate) enum Value {
    Scalar { text: String, plain: bool },
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) line: usize,
    pub(crate) name: String,
}

/// What a value is to faasd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Boolean,
    /// A whole number that faasd writes as it was written here.
    Whole,
    /// Any other number or date: faasd would pass it on in another spelling.
    Respelled,
    Text,
    List,
    Map,
}

impl Node {
    /// Reads a document. Of a mistake in the YAML itself only the first is found.
    pub(crate) fn parse(text: &str) -> Result<Self, Mistake> {
        let mut events = Parser::new_from_str(text);
        loop {
            let (event, span) = next(&mut events)?;
            match event {
                Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => {}
                Event::StreamEnd | Event::DocumentEnd => {
                    return Err(Mistake::new(span.start.line(), "there is nothing in it"));
                }
                event => return node(&mut events, event, span),
            }
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match &self.value {
            Value::List(_) => Kind::List,
            Value::Map(_) => Kind::Map,
            Value::Scalar { plain: false, .. } => Kind::Text,
            Value::Scalar { text, .. } => kind_of_plain(text),
        }
    }

    /// The characters of a scalar, whatever it is to faasd.
    pub(crate) fn scalar(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }
}

fn kind_of_plain(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "n" | "N" | "no" | "No" | "NO" | "true" | "True"
        | "TRUE" | "false" | "False" | "FALSE" | "on" | "On" | "ON" | "off" | "Off" | "OFF" => {
            Kind::Boolean
        }
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF"
        | "-.inf" | "-.Inf" | "-.INF" => Kind::Respelled,
        text if is_whole(text) => Kind::Whole,
        text if looks_like_number(text) => Kind::Respelled,
        _ => Kind::Text,
    }
}

fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.parse::<u32>().is_ok_and(|number| number.to_string() == digits) && text != "-0"
}

/// Takes more for numbers than faasd does (`1.2.3` is none, `1_0` and `0x1f` are): who quotes one too many loses nothing.
fn looks_like_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let begins =
        unsigned.strip_prefix('.').unwrap_or(unsigned).starts_with(|c: char| c.is_ascii_digit());
    begins && unsigned.chars().all(|c| c.is_ascii_hexdigit() || "_.xobXOB+-:TtZz ".contains(c))
}

fn next<'text>(events: &mut Events<'text>) -> Result<(Event<'text>, Span), Mistake> {
    match events.next_event() {
        Some(Ok(event)) => Ok(event),
        Some(Err(error)) => Err(Mistake::new(error.marker().line(), error.info())),
        None => Err(Mistake::new(0, "it ends too early")),
    }
}

fn node<'text>(
    events: &mut Events<'text>,
    event: Event<'text>,
    span: Span,
) -> Result<Node, Mistake> {
    let line = span.start.line();
    let refuse = |what: &str| {
        Err(Mistake::new(line, format!("{what} are not understood here: write it out")))
    };
    let value = match event {
        Event::Alias(_) => return refuse("aliases"),
        Event::Scalar(_, _, anchor, _)
        | Event::SequenceStart(anchor, _)
        | Event::MappingStart(anchor, _)
            if anchor != 0 =>
        {
            return refuse("anchors");
        }
        Event::Scalar(_, _, _, Some(_))
        | Event::SequenceStart(_, Some(_))
        | Event::MappingStart(_, Some(_)) => {
            return refuse("tags");
        }
        Event::Scalar(text, style, ..) => {
            Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }
        }
        Event::SequenceStart(..) => Value::List(list(events)?),
        Event::MappingStart(..) => Value::Map(map(events)?),
        _ => return Err(Mistake::new(line, "a value is missing")),
    };
    Ok(Node { line, value })
}

fn list<'text>(events: &mut Events<'text>) -> Result<Vec<Node>, Mistake> {
    let mut items = Vec::new();
    loop {
        match next(events)? {
            (Event::SequenceEnd, _) => return Ok(items),
            (event, span) => items.push(node(events, event, span)?),
        }
    }
}

fn map<'text>(events: &mut Events<'text>) -> Result<Vec<(Key, Node)>, Mistake> {
    let mut entries: Vec<(Key, Node)> = Vec::new();
    loop {
        let key = match next(events)? {
            (Event::MappingEnd, _) => return Ok(entries),
            (event, span) => node(events, event, span)?,
        };
        let line = key.line;
        let name = match (key.kind(), key.value) {
            (Kind::Text, Value::Scalar { text, .. }) => text,
            _ => return Err(Mistake::new(line, "a key must be text: put it into quotes")),
        };
        if name == "<<" {
            return Err(Mistake::new(line, "merge keys are not understood here: write it out"));
        }
        if entries.iter().any(|(known, _)| known.name == name) {
            return Err(Mistake::new(
                line,
                format!("`{name}` stands twice: faasd takes the last one"),
            ));
        }
        let (event, span) = next(events)?;
        entries.push((Key { line, name }, node(events, event, span)?));
    }
}
