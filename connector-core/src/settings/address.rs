//! Dead-letter addresses as settings and annotations write them.

use crate::dead_letter::Address;
use crate::event::FunctionName;

impl Address {
    /// Reads `drop`, `hold`, `function:NAME`, or `<scheme>:NAME` where `scheme` is the source's own
    /// word for a place at its broker. `None`: this source's broker cannot store letters.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str, scheme: Option<&str>) -> Result<Self, String> {
        let (word, name) = match text.trim() {
            "drop" => return Ok(Self::Drop),
            "hold" => return Ok(Self::Hold),
            other => other.split_once(':').ok_or("is no dead-letter address")?,
        };
        let name = name.trim();
        if name.is_empty() {
            return Err(format!("names nothing after `{word}:`"));
        }
        match word {
            "function" if name.contains(['/', '?', '#']) || name.contains(char::is_whitespace) => {
                Err("names no function".to_owned())
            }
            "function" => Ok(Self::Function(FunctionName::new(name))),
            _ if Some(word) == scheme => Ok(Self::Broker(name.to_owned())),
            _ => Err("is of no kind that this connector can store letters in".to_owned()),
        }
    }

    /// The forms that [`parse`](Self::parse) reads, as the end of a sentence.
    pub(super) fn forms(scheme: Option<&str>) -> String {
        let broker = scheme.map(|scheme| format!(", {scheme}:NAME")).unwrap_or_default();
        format!("drop, hold, function:NAME{broker}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let parse = |text| Address::parse(text, Some("topic"));
        assert_eq!(parse("drop"), Ok(Address::Drop));
        assert_eq!(parse(" hold "), Ok(Address::Hold));
        assert_eq!(
            parse("function:rescue.openfaas-fn"),
            Ok(Address::Function(FunctionName::new("rescue.openfaas-fn")))
        );
        assert_eq!(parse("topic: orders.dead"), Ok(Address::Broker("orders.dead".to_owned())));
        // Only the first colon separates: a queue URL has more.
        assert_eq!(
            Address::parse("queue:http://sqs:9324/q", Some("queue")),
            Ok(Address::Broker("http://sqs:9324/q".to_owned()))
        );
    }

    #[test]
    fn everything_else_is_refused() {
        for text in ["", "Drop", "topic", "topic:", "function: ", "function:a/b", "queue:q", ":x"] {
            assert!(Address::parse(text, Some("topic")).is_err(), "{text:?}");
        }
        assert!(Address::parse("topic:t", None).is_err());
    }
}
