//! Types and functions for the fields of bodies.

use std::marker::PhantomData;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Unexpected, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

use crate::domain::{JsonText, json::Flaw};

/// How the words for a [`Flaw`] begin, for [`super::read`] to know them.
pub(super) const FLAW: &str = "flaw: ";

/// A field that is absent (`None`), null (`Some(None)`) or has a value.
///
/// # Errors
/// Those of the value.
pub fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// A JSON object of any form, kept as text; it may be absent, and null is absent.
///
/// # Errors
/// For another type than an object, and for every [`Flaw`].
pub fn payload<'de, D: Deserializer<'de>>(from: D) -> Result<Option<JsonText>, D::Error> {
    let Some(raw) = Option::<Box<RawValue>>::deserialize(from)? else {
        return Ok(None);
    };
    JsonText::object_of(&raw).map(Some).map_err(|flaw| match flaw {
        Flaw::NotAnObject => D::Error::invalid_type(Unexpected::Other("another type"), &"an object"),
        flaw => D::Error::custom(format_args!("{FLAW}{flaw}")),
    })
}

/// An object below the first level of a body: serde alone would take an array of its values too.
#[derive(Debug, Clone)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OfMap<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfMap<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        from.deserialize_map(OfMap(PhantomData))
    }
}
