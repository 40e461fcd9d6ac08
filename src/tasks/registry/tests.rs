use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::*;

/// Two lines
/// of description.
///
/// And more.
#[derive(Deserialize, JsonSchema)]
struct Parcel {
    to: String,
    #[serde(default)]
    items: Vec<Item>,
    #[serde(default)]
    notes: HashMap<String, i32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Item {
    #[expect(dead_code, reason = "only read by serde")]
    weight: u32,
}

impl TaskType for Parcel {
    const NAME: &'static str = "parcel";

    fn check(&self) -> Vec<Violation> {
        if self.to.is_empty() { vec![Violation::new("/to", "empty", "an address")] } else { Vec::new() }
    }

    async fn run(self, _: Context) -> Outcome {
        Ok(json!(self.items.len() + self.notes.len()))
    }
}

fn refusals(payload: Value) -> Vec<(String, &'static str)> {
    let registry = Registry::builtin().with::<Parcel>();
    let violations = registry.check("parcel", &payload.into()).err().unwrap_or_default();
    violations.into_iter().map(|violation| (violation.field.into_owned(), violation.code)).collect()
}

fn one(field: &str, code: &'static str) -> Vec<(String, &'static str)> {
    vec![(field.to_owned(), code)]
}

#[test]
fn a_payload_that_fits_is_taken() {
    let payload = json!({"to": "Ada", "items": [{"weight": 1}], "notes": {"a": 1}});
    assert_eq!(refusals(payload), []);
}

#[test]
fn every_unknown_and_every_missing_field_is_named() {
    let mut refused = refusals(json!({"from": 1, "a/b~c": 2}));
    refused.sort();
    let expected = [
        ("/payload/a~1b~0c", "unknown_field"),
        ("/payload/from", "unknown_field"),
        ("/payload/to", "required"),
    ];
    assert_eq!(refused, expected.map(|(field, code)| (field.to_owned(), code)));
}

#[test]
fn a_wrong_value_is_named_by_its_place_however_deep() {
    assert_eq!(refusals(json!({"to": 7})), one("/payload/to", "invalid_value"));
    let deep = json!({"to": "Ada", "items": [{"weight": 1}, {"weight": -1}]});
    assert_eq!(refusals(deep), one("/payload/items/1/weight", "invalid_value"));
    let inner = json!({"to": "Ada", "items": [{"weight": 1, "colour": 2}]});
    assert_eq!(refusals(inner), one("/payload/items/0/colour", "invalid_value"));
    assert_eq!(refusals(json!({"to": ""})), one("/payload/to", "empty"));
    assert_eq!(refusals(json!([])), one("/payload", "not_an_object"));
}

#[test]
fn nul_is_refused_wherever_it_hides() {
    assert_eq!(refusals(json!({"to": "A\0a"})), one("/payload/to", "nul_character"));
    assert_eq!(refusals(json!({"to": "Ada", "notes": {"a\0": 1}})), one("/payload/notes", "nul_character"));
}

#[test]
fn an_unknown_type_is_told() {
    let violations = Registry::builtin().check("nope", &json!({}).into()).unwrap_err();
    assert_eq!((violations[0].field.as_ref(), violations[0].code), ("/task_type", "unknown_task_type"));
}

#[test]
fn what_is_wrong_is_told_without_repeating_it() {
    let registry = Registry::builtin().with::<Parcel>();
    let violations = registry.check("parcel", &json!({"to": ["hunter2"], "hunter3": 1}).into()).unwrap_err();
    assert!(violations.iter().all(|violation| !violation.message.contains("hunter")));
}

#[test]
fn a_definition_says_what_a_caller_must_know() {
    let registry = Registry::builtin().with::<Parcel>();
    let shown = serde_json::to_value(registry.get("parcel").unwrap()).unwrap();
    assert_eq!(shown["description"], "Two lines of description.");
    assert_eq!(shown["payload_schema"]["additionalProperties"], false);
    assert_eq!(shown["payload_schema"]["required"], json!(["to"]));
    assert_eq!(
        shown["defaults"],
        json!({"queue": "default", "priority": 0, "max_attempts": 5, "timeout_secs": 60})
    );
    assert_eq!(shown["retry"], json!({"first_secs": 2.0, "factor": 2.0, "longest_secs": 3600.0}));
}
