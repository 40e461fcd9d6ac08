//! JSON that is kept as the text that was sent: numbers of any size come back digit for digit, and a value costs the memory
//! of its text and no more.

mod scan;

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

pub use self::scan::Flaw;

/// Valid JSON as text. Cheap to clone; `Debug` shows its size and never its content.
#[derive(Clone)]
pub struct JsonText(Arc<RawValue>);

impl JsonText {
    /// Returns the object in `text` without insignificant white space.
    ///
    /// # Errors
    /// The first [`Flaw`] that was found.
    pub fn object(text: &str) -> Result<Self, Flaw> {
        let raw: &RawValue = serde_json::from_str(text).map_err(|_| Flaw::NotJson)?;
        Self::object_of(raw)
    }

    /// As [`JsonText::object`], of text that is known to be valid JSON.
    ///
    /// # Errors
    /// The first [`Flaw`] that was found.
    pub fn object_of(raw: &RawValue) -> Result<Self, Flaw> {
        if !raw.get().starts_with('{') {
            return Err(Flaw::NotAnObject);
        }
        Self::read(scan::compact(raw.get())?).ok_or(Flaw::NotJson)
    }

    /// Returns `text` as it is; `None` if it is not JSON.
    pub fn read(text: String) -> Option<Self> {
        RawValue::from_string(text).ok().map(|raw| Self(raw.into()))
    }

    /// Returns what serde writes for `value`; `None` if that fails.
    pub fn of(value: &impl Serialize) -> Option<Self> {
        serde_json::value::to_raw_value(value).ok().map(|raw| Self(raw.into()))
    }

    /// Returns `{}`.
    pub fn empty_object() -> Self {
        Value::Object(serde_json::Map::new()).into()
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Returns the size of the text in bytes.
    pub fn bytes(&self) -> usize {
        self.as_str().len()
    }

    /// Reads a value from the text.
    ///
    /// # Errors
    /// Those of serde, which may repeat what is in the text.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.as_str())
    }
}

impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonText({} bytes)", self.bytes())
    }
}

impl fmt::Display for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq for JsonText {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

/// Takes any JSON value; not within `#[serde(flatten)]` or an untagged enumeration, where serde keeps no text.
impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(from).map(|raw| Self(raw.into()))
    }
}

impl From<&Value> for JsonText {
    fn from(value: &Value) -> Self {
        // Writing a `Value` cannot fail: its keys are strings, its numbers finite.
        Self::of(value).unwrap_or_else(|| Self(RawValue::NULL.to_owned().into()))
    }
}

impl From<Value> for JsonText {
    fn from(value: Value) -> Self {
        Self::from(&value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_number_is_kept_digit_for_digit() {
        for number in [
            "1.7976931348623157e308",
            "1e308",
            "1e400",
            "-1E+400",
            "18446744073709551616",
            "-0",
            "0.1",
            "1.0",
            "0.30000000000000004",
            "123456789012345678901234567890.5e-7",
        ] {
            let kept = JsonText::object(&format!(r#"{{"n" : {number} }}"#)).unwrap();
            assert_eq!(kept.as_str(), format!(r#"{{"n":{number}}}"#));
            assert_eq!(serde_json::to_string(&kept).unwrap(), kept.as_str());
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["[]", "null", "1", r#""{}""#] {
            assert_eq!(JsonText::object(text), Err(Flaw::NotAnObject), "{text}");
        }
        for text in ["", "{", "{}}", "{a:1}", r#"{"a":01}"#, r#"{"a":NaN}"#] {
            assert_eq!(JsonText::object(text), Err(Flaw::NotJson), "{text}");
        }
    }

    #[test]
    fn logs_see_no_content() {
        let text = JsonText::from(json!({ "secret": "hunter2" }));
        assert_eq!(format!("{text:?}"), "JsonText(20 bytes)");
    }

    proptest! {
        #[test]
        fn a_double_is_read_as_it_was_written(number in proptest::num::f64::NORMAL) {
            let text = JsonText::from(json!({ "n": number }));
            prop_assert_eq!(text.parse::<Value>().unwrap()["n"].as_f64(), Some(number));
        }
    }
}
