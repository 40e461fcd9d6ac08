//! From bytes to a value, or to what is wrong with them.

use serde::de::{DeserializeOwned, IgnoredAny};
use utoipa::{
    PartialSchema,
    openapi::{RefOr, Schema},
};

use super::{fields::FLAW, malformed};
use crate::{
    domain::{Error, Violation},
    http::problem::Problem,
};

/// Reads one JSON object.
pub(super) fn parse<T: DeserializeOwned + PartialSchema>(raw: &[u8]) -> Result<T, Problem> {
    if raw.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(malformed("The body must be a JSON object."));
    }
    if holds_nul(raw) {
        return Err(malformed("The body holds the character U+0000."));
    }
    serde_json::from_slice(raw).map_err(|_| explain::<T>(raw))
}

/// Whether a string of this JSON text holds U+0000, which it can only as the escape `\u0000`.
pub(super) fn holds_nul(raw: &[u8]) -> bool {
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let (_, escape) = rest.split_at(at);
        if escape.starts_with(br"\u0000") {
            return true;
        }
        // The escaped character is skipped, so that `\\u0000` is not taken for an escape.
        rest = escape.get(2..).unwrap_or_default();
    }
    false
}

/// Why a body did not fit. Reads it once more: a refused body may cost that.
fn explain<T: DeserializeOwned + PartialSchema>(raw: &[u8]) -> Problem {
    let mut text = serde_json::Deserializer::from_slice(raw);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut text) else {
        return malformed("Something follows the JSON object.");
    };
    if !error.inner().is_data() || serde_json::from_slice::<IgnoredAny>(raw).is_err() {
        return malformed("The body is not valid JSON.");
    }
    let schema = T::schema();
    let at = pointer(error.path(), &schema);
    let why = error.inner().to_string();
    if let Some(flaw) = why.strip_prefix(FLAW) {
        // serde_json adds the line and the column.
        let flaw = flaw.split(" at line ").next().unwrap_or_default();
        return malformed(format!("{}: {flaw}.", capitalised(&place(&at))));
    }
    if why.starts_with("missing field") {
        let missing = quoted(&why).unwrap_or_default();
        return required(&at, missing, &schema, raw);
    }
    if why.starts_with("unknown field") {
        // The last name is the unknown one, which is not ours to repeat.
        let parent = at.rsplit_once('/').map_or("", |(parent, _)| parent);
        let known = quoted_after(&why, "expected").join(", ");
        return malformed(format!("Unknown field in {}. Known are: {known}.", place(parent)));
    }
    if why.starts_with("duplicate field") {
        return malformed(format!("The field `{at}/{}` is there twice.", quoted(&why).unwrap_or_default()));
    }
    if why.starts_with("invalid type") || why.starts_with("invalid length") {
        return malformed(format!("{} has the wrong JSON type.", capitalised(&place(&at))));
    }
    Error::invalid(at, "invalid_value", "not one of the values that are taken here").into()
}

/// Every field that must be there and is not: serde tells the first one only.
fn required(at: &str, first: &str, schema: &RefOr<Schema>, raw: &[u8]) -> Problem {
    let violation = |name: &str| Violation::new(format!("{at}/{name}"), "required", "must be given");
    let all = match (at, schema, serde_json::from_slice::<serde_json::Value>(raw)) {
        ("", RefOr::T(Schema::Object(object)), Ok(sent)) => object
            .required
            .iter()
            .filter(|name| sent.get(name).is_none())
            .map(|name| violation(name))
            .collect(),
        _ => Vec::new(),
    };
    Error::Invalid(if all.is_empty() { vec![violation(first)] } else { all }).into()
}

/// The JSON pointer to where the reader was, or to the whole when that is not a name of ours.
fn pointer(path: &serde_path_to_error::Path, schema: &RefOr<Schema>) -> String {
    use serde_path_to_error::Segment;
    let known = |name: &str| match schema {
        RefOr::T(Schema::Object(object)) => object.properties.contains_key(name),
        _ => false,
    };
    let mut at = String::new();
    for segment in path {
        match segment {
            Segment::Map { key } if !at.is_empty() || known(key) => {
                at.push('/');
                at.push_str(key);
            }
            Segment::Seq { index } => {
                at.push('/');
                at.push_str(&index.to_string());
            }
            _ => break,
        }
    }
    at
}

fn place(at: &str) -> String {
    if at.is_empty() { "the body".to_owned() } else { format!("the field `{at}`") }
}

fn capitalised(text: &str) -> String {
    text.replacen("the", "The", 1)
}

/// The names that serde quotes after `word`: those of our own structs.
fn quoted_after<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    let after = text.split_once(word).map_or("", |(_, after)| after);
    after.split('`').skip(1).step_by(2).collect()
}

fn quoted(text: &str) -> Option<&str> {
    text.split('`').nth(1)
}
