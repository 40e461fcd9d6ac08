//! One pass over JSON text: what serde_json decides silently (a doubled key: the last wins) or leaves alone in text that it
//! does not read (half a surrogate pair, depth) is found here.

use std::{borrow::Cow, collections::HashSet};

use derive_more::Display;

/// Objects and arrays within each other, at most: as many as serde_json takes.
const DEEPEST: usize = 127;

/// Why JSON text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display)]
pub enum Flaw {
    /// It is not JSON.
    #[display("not valid JSON")]
    NotJson,
    /// It is JSON, and no object.
    #[display("not a JSON object")]
    NotAnObject,
    /// An object has a key twice.
    #[display("a key is there twice in one object")]
    DoubledKey,
    /// A string escapes half of a surrogate pair, which is no character.
    #[display("a string holds half of a surrogate pair")]
    NotUnicode,
    /// Objects and arrays lie too deep within each other.
    #[display("nested too deep")]
    TooDeep,
}

/// Where the scan is within an object or array.
enum Level<'a> {
    Array,
    Object { keys: HashSet<Cow<'a, str>>, key_is_next: bool },
}

/// Returns valid JSON without its insignificant white space, or the first flaw. Of other text it returns anything, but
/// never panics.
pub(super) fn compact(text: &str) -> Result<String, Flaw> {
    let mut kept = String::with_capacity(text.len());
    let mut levels: Vec<Level<'_>> = Vec::new();
    let mut rest = text;

    while let Some(first) = rest.bytes().next() {
        let token = token(first, rest);
        rest = rest.get(token.len()..).unwrap_or_default();
        match first {
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            b'{' => levels.push(Level::Object { keys: HashSet::new(), key_is_next: true }),
            b'[' => levels.push(Level::Array),
            b'}' | b']' => _ = levels.pop(),
            b'"' => string(token, levels.last_mut())?,
            // A comma in an object is followed by a key.
            b',' => {
                if let Some(Level::Object { key_is_next, .. }) = levels.last_mut() {
                    *key_is_next = true;
                }
            }
            _ => {}
        }
        if levels.len() > DEEPEST {
            return Err(Flaw::TooDeep);
        }
        kept.push_str(token);
    }

    Ok(kept)
}

/// Returns what belongs together at the start of `rest`: a string, a number or word, or one character.
fn token(first: u8, rest: &str) -> &str {
    let length = match first {
        b'"' => string_length(rest),
        b'{' | b'}' | b'[' | b']' | b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' => 1,
        _ => rest.find(['{', '}', '[', ']', ',', ':', ' ', '\t', '\r', '\n', '"']).unwrap_or(rest.len()),
    };
    rest.get(..length).unwrap_or(rest)
}

fn string_length(rest: &str) -> usize {
    let mut bytes = rest.bytes().enumerate().skip(1);
    while let Some((index, byte)) = bytes.next() {
        match byte {
            b'"' => return index + 1,
            b'\\' => _ = bytes.next(),
            _ => {}
        }
    }
    rest.len()
}

/// Checks a string, and notes it where it is a key.
fn string<'a>(token: &'a str, level: Option<&mut Level<'a>>) -> Result<(), Flaw> {
    let text = if token.contains('\\') {
        Cow::Owned(serde_json::from_str::<String>(token).map_err(|_| Flaw::NotUnicode)?)
    } else {
        Cow::Borrowed(token.trim_matches('"'))
    };

    if let Some(Level::Object { keys, key_is_next: next @ true }) = level {
        *next = false;
        if !keys.insert(text) {
            return Err(Flaw::DoubledKey);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_doubled_key_is_found_however_it_is_written_and_wherever_it_is() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"b":2, "a" :1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#"[[{"b":[{"é":1,"\u00e9":2}]}]]"#,
            r#"{"":1,"":2}"#,
            r#"{"\"":1,"\u0022":2}"#,
        ] {
            assert_eq!(compact(text), Err(Flaw::DoubledKey), "{text}");
        }
        for text in [
            r#"{"a":"a","b":"a"}"#,
            r#"[{"a":1},{"a":2}]"#,
            r#"{"a":{"a":{"a":"a"}}}"#,
            r#"{"a":["a","a"],"A":"\"a\":1,\"a\":1"}"#,
            r#"{"a":1,"\\u0061":2}"#,
        ] {
            assert_eq!(compact(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn half_of_a_surrogate_pair_is_no_text() {
        for text in [r#"{"a":"\ud800"}"#, r#"{"\udc00":1}"#, r#"["\ud83d\u0061"]"#] {
            assert_eq!(compact(text), Err(Flaw::NotUnicode), "{text}");
        }
        let text = r#"{"a":"\ud83d\ude00"}"#;
        assert_eq!(compact(text).as_deref(), Ok(text));
    }

    #[test]
    fn what_serde_json_can_read_is_not_too_deep() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for depth in [1, DEEPEST, DEEPEST + 1, 100_000] {
            let readable = serde_json::from_str::<Value>(&nested(depth)).is_ok();
            assert_eq!(compact(&nested(depth)).is_ok(), readable, "{depth}");
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            proptest::num::f64::NORMAL.prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[\\\\\"{}\\[\\],: \n]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::hash_map("[ab\\\\\" é]{0,3}", inner, 0..5)
                    .prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn white_space_goes_and_nothing_else(value in values()) {
            let (pretty, plain) = (serde_json::to_string_pretty(&value).unwrap(), value.to_string());
            prop_assert_eq!(compact(&pretty), Ok(plain.clone()));
            prop_assert_eq!(compact(&plain), Ok(plain));
        }

        #[test]
        fn a_key_that_is_repeated_is_found(value in values(), key in any::<String>(), other in values()) {
            let key = json!(key);
            let text = format!(r#"{{"x":[{{{key}:{value}, {key}:{other}}}]}}"#);
            prop_assert_eq!(compact(&text), Err(Flaw::DoubledKey));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[\\PC\"\\\\{}\\[\\],: ]{0,60}") {
            let _ = compact(&text);
        }
    }
}
