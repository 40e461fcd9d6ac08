//! What varies in a path: ids in their one canonical form.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, dev::Payload};
use uuid::Uuid;

use super::problem::Problem;
use crate::domain::{ApiKeyId, Error, ScheduleId, SessionId, TaskId, UserId, queue::QueueName};

/// What a segment of a path can be read as.
pub trait Segment: Sized {
    /// The value, if the text is the canonical form of one.
    fn read(text: &str) -> Option<Self>;
}

impl Segment for Uuid {
    /// Hyphenated, lower case: one id, one address.
    fn read(text: &str) -> Option<Self> {
        let id = Uuid::try_parse(text).ok()?;
        (id.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text).then_some(id)
    }
}

macro_rules! ids {
    ($($id:ty),*) => {$(
        impl Segment for $id {
            fn read(text: &str) -> Option<Self> {
                Uuid::read(text).map(Self)
            }
        }
    )*};
}

impl Segment for QueueName {
    fn read(text: &str) -> Option<Self> {
        Self::stored(text).ok()
    }
}

ids!(ApiKeyId, ScheduleId, SessionId, TaskId, UserId);

/// Extracts the one part of the path that varies.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<T: Segment> FromRequest for Path<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let mut parts = request.match_info().iter();
        let value = match (parts.next(), parts.next()) {
            (Some((_, text)), None) => T::read(text),
            _ => None,
        };
        ready(value.map(Self).ok_or_else(|| Error::malformed("The id in the path is not one.").into()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_canonical_form_of_an_id_is_one() {
        let id = "01920f3e-7b6c-7d3a-9c1e-0123456789ab";
        assert_eq!(UserId::read(id).unwrap().to_string(), id);
        for bad in [
            &id.to_uppercase(),
            &id.replace('-', ""),
            &format!("{{{id}}}"),
            &format!("urn:uuid:{id}"),
            &format!("{id} "),
            "",
            "abc",
            "1' or 1=1--",
        ] {
            assert!(UserId::read(bad).is_none(), "{bad}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_id_is_read_back_from_its_text(bits: u128) {
            let id = Uuid::from_u128(bits);
            prop_assert_eq!(Uuid::read(&id.to_string()), Some(id));
        }
    }
}
