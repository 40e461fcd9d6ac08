//! One log record as one line.

use std::{error::Error, fmt::Write, sync::Arc};

use chrono::{DateTime, SecondsFormat, Utc};
use log::{
    Record,
    kv::{self, Key, Value, VisitSource},
};
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value as Json;

/// The names that every record has; a key-value that is called the same gets a `_` appended.
const OWN_FIELDS: [&str; 4] = ["timestamp", "level", "target", "message"];

/// What a line is made of.
pub(super) struct Line<'a> {
    record: &'a Record<'a>,
    timestamp: String,
    fields: Vec<(String, Json)>,
}

impl<'a> Line<'a> {
    /// The line of `record`, logged at `at` while `request_id` was worked on.
    pub(super) fn new(record: &'a Record<'a>, at: DateTime<Utc>, request_id: Option<Arc<str>>) -> Self {
        let mut fields = Fields(Vec::new());
        // Collecting cannot fail, and a record without some of its fields is better than none.
        let _ = record.key_values().visit(&mut fields);
        let Fields(mut fields) = fields;
        if let Some(id) = request_id
            && !fields.iter().any(|(key, _)| key == "request_id")
        {
            fields.insert(0, ("request_id".to_owned(), Json::from(&*id)));
        }
        Self { record, timestamp: at.to_rfc3339_opts(SecondsFormat::Millis, true), fields }
    }

    /// As one JSON object.
    pub(super) fn json(&self) -> String {
        let mut out = Vec::with_capacity(256);
        // Writing strings and numbers to memory cannot fail.
        let _ = self.write_json(&mut out);
        // JSON leaves DEL and the C1 controls as they are; some terminals obey them.
        escaped(&String::from_utf8_lossy(&out), |out, c| write!(out, "\\u{:04x}", u32::from(c)))
    }

    fn write_json(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let mut serializer = serde_json::Serializer::new(out);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &self.timestamp)?;
        map.serialize_entry("level", &self.record.level().as_str().to_ascii_lowercase())?;
        map.serialize_entry("target", self.record.target())?;
        map.serialize_entry("message", &self.record.args().to_string())?;
        for (key, value) in &self.fields {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }

    /// For people, with the level as it is to look.
    pub(super) fn text(&self, level: impl std::fmt::Display) -> String {
        let message = self.record.args().to_string();
        let mut line = format!("{} {level} {}: ", self.timestamp, self.record.target());
        line.push_str(&escaped(&message, |out, c| write!(out, "{}", c.escape_default())));
        for (key, value) in &self.fields {
            let value = match value {
                Json::String(text) if is_word(text) => text.clone(),
                other => escaped(&other.to_string(), |out, c| write!(out, "\\u{:04x}", u32::from(c))),
            };
            line.push(' ');
            line.push_str(&escaped(key, |out, c| write!(out, "{}", c.escape_default())));
            line.push('=');
            line.push_str(&value);
        }
        line
    }
}

/// Can stand after `key=` without quotes.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '=' | '\\'))
}

/// `text` with every control character, and what some programs take for the end of a line,
/// written by `escape`.
fn escaped(text: &str, escape: impl Fn(&mut String, char) -> std::fmt::Result) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            // Writing to a String cannot fail.
            let _ = escape(&mut out, c);
        } else {
            out.push(c);
        }
    }
    out
}

/// The key-values of a record, in their order.
struct Fields(Vec<(String, Json)>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let mut key = key.as_str().to_owned();
        if OWN_FIELDS.contains(&key.as_str()) {
            key.push('_');
        }
        self.0.push((key, json(&value)));
        Ok(())
    }
}

fn json(value: &Value<'_>) -> Json {
    if let Some(number) = value.to_u64() {
        return Json::from(number);
    }
    if let Some(number) = value.to_i64() {
        return Json::from(number);
    }
    if let Some(truth) = value.to_bool() {
        return Json::from(truth);
    }
    if let Some(error) = value.to_borrowed_error() {
        return Json::from(with_causes(error));
    }
    match value.to_f64() {
        Some(number) if number.is_finite() => Json::from(number),
        _ => Json::from(value.to_string()),
    }
}

/// `message: cause: its cause`, leaving out causes that the message before already ends with.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let message = cause.to_string();
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at() -> DateTime<Utc> {
        DateTime::from_timestamp(1_767_323_045, 678_900_000).unwrap()
    }

    fn lines(message: &str, fields: &[(&str, Value<'_>)], request_id: Option<&str>) -> [String; 2] {
        let args = format_args!("{message}");
        let record = Record::builder()
            .level(log::Level::Warn)
            .target("starter::test")
            .args(args)
            .key_values(&fields)
            .build();
        let line = Line::new(&record, at(), request_id.map(Arc::from));
        [line.json(), line.text("WARN ")]
    }

    #[test]
    fn a_record_is_one_line_with_all_its_fields() {
        let error = crate::domain::Error::internal(std::io::Error::other("disk on fire"));
        let fields = [
            ("task_id", Value::from("018f")),
            ("attempt", Value::from(2)),
            ("delay", Value::from(-1)),
            ("ok", Value::from(true)),
            ("load", Value::from(0.5)),
            ("error", Value::from_dyn_error(&error)),
            ("level", Value::from("mine")),
        ];
        let [json, text] = lines("it \"went\"", &fields, Some("req-1"));
        assert_eq!(
            json,
            r#"{"timestamp":"2026-01-02T03:04:05.678Z","level":"warn","target":"starter::test","message":"it \"went\"","#
                .to_owned()
                + r#""request_id":"req-1","task_id":"018f","attempt":2,"delay":-1,"ok":true,"load":0.5,"#
                + r#""error":"internal error: disk on fire","level_":"mine"}"#
        );
        assert_eq!(
            text,
            "2026-01-02T03:04:05.678Z WARN  starter::test: it \"went\" request_id=req-1 task_id=018f attempt=2 \
             delay=-1 ok=true load=0.5 error=\"internal error: disk on fire\" level_=mine"
        );
    }

    #[test]
    fn a_request_id_given_by_hand_wins() {
        let fields = [("request_id", Value::from("mine"))];
        let [json, text] = lines("m", &fields, Some("scoped"));
        assert!(!json.contains("scoped") && !text.contains("scoped"));
    }

    #[test]
    fn control_characters_forge_no_record() {
        let evil = "a\r\n\u{1b}[31m\u{7f}\u{9b}2J\u{2028}b";
        let fields = [("user_agent", Value::from(evil))];
        let [json, text] = lines(evil, &fields, Some(evil));
        assert!(!text.contains(char::is_control) && !json.contains(char::is_control), "{text}\n{json}");
        assert!(text.contains(r"a\r\n\u{1b}[31m\u{7f}\u{9b}2J\u{2028}b"), "{text}");
        let read: Json = serde_json::from_str(&json).unwrap();
        assert_eq!(read["message"], evil);
        assert_eq!(read["user_agent"], evil);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn whatever_is_logged_stays_one_line_and_is_read_back(message in any::<String>(), value in any::<String>()) {
            let fields = [("value", Value::from(value.as_str()))];
            let [json, text] = lines(&message, &fields, None);
            prop_assert!(!json.contains(char::is_control));
            prop_assert!(!text.contains(char::is_control));
            let read: Json = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(&read["message"], &message);
            prop_assert_eq!(&read["value"], &value);
        }
    }
}
