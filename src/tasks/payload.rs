//! Whether a payload fits its type, told field by field.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde_json::Value;

use super::TaskType;
use crate::domain::{JsonText, Violation};

/// The fields that a type's schema names, and those that it cannot do without.
#[derive(Debug, Clone, Default)]
pub(super) struct Shape {
    /// Empty for a schema without a list of properties, such as one of alternatives: serde alone judges then.
    known: Vec<String>,
    required: Vec<String>,
    closed: bool,
}

impl Shape {
    /// Reads it from a JSON Schema, and writes into the schema that other fields are refused.
    pub(super) fn close(schema: &mut Value) -> Self {
        let open = schema.get("additionalProperties").is_some_and(|more| more != &Value::Bool(false))
            || ["oneOf", "anyOf", "allOf", "$ref"].iter().any(|key| schema.get(key).is_some());
        let names = |value: Option<&Value>| -> Vec<String> {
            let list = value.and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let required = names(schema.get("required"));
        let properties = schema.get("properties").and_then(Value::as_object);
        let known = properties.map(|fields| fields.keys().cloned().collect()).unwrap_or_default();
        if !open && let Some(object) = schema.as_object_mut() {
            object.insert("additionalProperties".into(), Value::Bool(false));
        }
        Self { known, required, closed: !open }
    }
}

/// Everything that is wrong with a payload, with JSON pointers that start at the payload.
pub(super) fn check<T: TaskType>(shape: &Shape, payload: &JsonText) -> Vec<Violation> {
    // Names only: a value costs many times the memory of its text.
    let Ok(fields) = payload.parse::<BTreeMap<String, IgnoredAny>>() else {
        return vec![Violation::new("", "not_an_object", "a JSON object")];
    };

    let mut wrong = nul_characters(payload);
    if shape.closed {
        for name in fields.keys().filter(|name| !shape.known.contains(name)) {
            wrong.push(Violation::new(step(name), "unknown_field", "this type of task has no such field"));
        }
    }
    for name in shape.required.iter().filter(|name| !fields.contains_key(*name)) {
        wrong.push(Violation::new(step(name), "required", "must be given"));
    }

    if wrong.is_empty() {
        match read::<T>(payload) {
            Ok(task) => wrong = task.check(),
            Err(violation) => wrong.push(violation),
        }
    }
    wrong
}

/// The payload as its type has it.
pub(super) fn read<T: TaskType>(payload: &JsonText) -> Result<T, Violation> {
    let mut text = serde_json::Deserializer::from_str(payload.as_str());
    serde_path_to_error::deserialize(&mut text).map_err(|error| {
        let mut pointer = String::new();
        for segment in error.path() {
            match segment {
                serde_path_to_error::Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
                serde_path_to_error::Segment::Map { key } => pointer.push_str(&step(key)),
                // Which alternative was meant is no place in the document.
                serde_path_to_error::Segment::Enum { .. } | serde_path_to_error::Segment::Unknown => {}
            }
        }
        // serde's own words would repeat what was sent.
        Violation::new(pointer, "invalid_value", "not of the type or form that the payload's schema asks for")
    })
}

/// One step of a JSON pointer (RFC 6901).
fn step(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// PostgreSQL's text has no NUL. Only text with its escape is read for it.
fn nul_characters(payload: &JsonText) -> Vec<Violation> {
    let mut wrong = Vec::new();
    if payload.as_str().contains(r"\u0000") {
        match payload.parse() {
            Ok(value) => find_nul(&value, &mut String::new(), &mut wrong),
            Err(_) => wrong.push(Violation::new("", "nul_character", "NUL is not allowed")),
        }
    }
    wrong
}

fn find_nul(value: &Value, pointer: &mut String, wrong: &mut Vec<Violation>) {
    let nul = |pointer: &str| Violation::new(pointer.to_owned(), "nul_character", "NUL is not allowed");
    match value {
        Value::String(text) if text.contains('\0') => wrong.push(nul(pointer)),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                descend(pointer, &format!("/{index}"), |pointer| find_nul(item, pointer, wrong));
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                if name.contains('\0') {
                    wrong.push(nul(pointer));
                } else {
                    descend(pointer, &step(name), |pointer| find_nul(field, pointer, wrong));
                }
            }
        }
        _ => {}
    }
}

fn descend(pointer: &mut String, further: &str, visit: impl FnOnce(&mut String)) {
    let length = pointer.len();
    pointer.push_str(further);
    visit(pointer);
    pointer.truncate(length);
}
