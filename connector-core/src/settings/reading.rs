//! From the text of one value to what it means, by the form of its setting.

use std::time::Duration;

use super::Form;
use super::duration::parse_go_duration;

/// How much of a value a message repeats.
const SHOWN: usize = 80;

/// What the text of a value means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reading {
    Text(String),
    List(Vec<String>),
    Flag(bool),
    Number(i64),
    Duration(Duration),
    Bytes(u64),
    Choice(&'static str),
}

/// Reads a value. The error says what is wrong, and repeats the value unless it is a secret.
pub(super) fn read(form: Form, text: &str) -> Result<Reading, String> {
    let wrong = |why: &str| format!("{} {why}", quoted(text));
    Ok(match form {
        Form::Text | Form::SecretFile | Form::Secret => Reading::Text(text.to_owned()),
        Form::List => Reading::List(
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(str::to_owned)
                .collect(),
        ),
        Form::Flag => Reading::Flag(match text {
            "true" | "1" => true,
            "false" | "0" => false,
            _ => return Err(wrong("is neither true nor false")),
        }),
        Form::Number(least, most) => {
            let number: i64 = text.parse().map_err(|_| wrong("is no whole number"))?;
            if number < least {
                return Err(wrong("is too small"));
            }
            if number > most {
                return Err(wrong("is too large"));
            }
            Reading::Number(number)
        }
        Form::Duration => Reading::Duration(parse_go_duration(text).map_err(|why| wrong(&why))?),
        Form::Bytes => Reading::Bytes(bytes(text).ok_or_else(|| wrong("is no number of bytes"))?),
        Form::Choice(words) => Reading::Choice(
            words
                .iter()
                .copied()
                .find(|&word| word == text)
                .ok_or_else(|| wrong("is none of its words"))?,
        ),
    })
}

/// What Go's `flag` package takes for the value of a boolean flag.
pub(super) fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// What a form takes, as the end of a sentence that begins with "takes".
pub(super) fn takes(form: Form) -> String {
    match form {
        Form::Text => "text".to_owned(),
        Form::List => "a list, separated by commas".to_owned(),
        Form::Flag => "true or false".to_owned(),
        Form::Number(least, i64::MAX) => format!("a whole number of at least {least}"),
        Form::Number(least, most) => format!("a whole number from {least} to {most}"),
        Form::Duration => "a duration such as 300ms, 30s or 2h45m".to_owned(),
        Form::Bytes => "a number of bytes such as 1048576, 512Ki or 32Mi".to_owned(),
        Form::Choice(words) => format!("one of {}", words.join(", ")),
        Form::SecretFile => "the path of a file".to_owned(),
        Form::Secret => "a secret".to_owned(),
    }
}

/// A value as messages show it: on one line, and not endless.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

fn bytes(text: &str) -> Option<u64> {
    let (digits, unit) = match text.len().checked_sub(2).and_then(|at| text.split_at_checked(at)) {
        Some((digits, "Ki")) => (digits, 1 << 10),
        Some((digits, "Mi")) => (digits, 1 << 20),
        Some((digits, "Gi")) => (digits, 1 << 30),
        _ => (text, 1),
    };
    // `parse` would take a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(unit).filter(|&bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_take_binary_suffixes() {
        for (text, bytes) in [
            ("1", Some(1)),
            ("1048576", Some(1 << 20)),
            ("512Ki", Some(1 << 19)),
            ("32Mi", Some(1 << 25)),
            ("1Gi", Some(1 << 30)),
            ("0", None),
            ("0Mi", None),
            ("", None),
            ("Mi", None),
            ("+1", None),
            ("-1", None),
            ("1.5Mi", None),
            ("1M", None),
            ("1MiB", None),
            ("99999999999Gi", None),
            ("\u{1f980}", None),
        ] {
            assert_eq!(super::bytes(text), bytes, "{text:?}");
        }
    }

    #[test]
    fn numbers_keep_their_bounds() {
        let form = Form::Number(-1, 10);
        assert_eq!(read(form, "-1"), Ok(Reading::Number(-1)));
        assert_eq!(read(form, "10"), Ok(Reading::Number(10)));
        assert_eq!(read(form, "-2"), Err("`-2` is too small".to_owned()));
        assert_eq!(read(form, "11"), Err("`11` is too large".to_owned()));
        assert_eq!(read(form, "ten"), Err("`ten` is no whole number".to_owned()));
        assert_eq!(read(form, ""), Err("`` is no whole number".to_owned()));
    }

    #[test]
    fn lists_lose_white_space_and_empty_items() {
        assert_eq!(
            read(Form::List, " a, b ,,c,"),
            Ok(Reading::List(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]))
        );
    }

    proptest! {
        #[test]
        fn a_message_is_one_short_line(text in any::<String>()) {
            let shown = quoted(&text);
            let ends_a_line = ['\n', '\r', '\u{1b}'];
            prop_assert!(!shown.contains(ends_a_line));
            prop_assert!(shown.chars().count() <= SHOWN * 10 + 3);
        }

        #[test]
        fn a_size_is_its_digits_times_its_unit(number in 1_u64..1 << 30) {
            prop_assert_eq!(bytes(&number.to_string()), Some(number));
            prop_assert_eq!(bytes(&format!("{number}Mi")), Some(number << 20));
        }
    }
}
