//! The name of one request, in its answer and in every log line about it.

use std::sync::Arc;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// The header, both ways.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Characters of an id that is taken from the request.
const MAX_LENGTH: usize = 128;

/// What the caller calls the request, if that is one printable ASCII string of at most 128
/// characters; else a new UUID v7.
pub(super) fn of(headers: &HeaderMap) -> Arc<str> {
    let mut given = headers.get_all(&HEADER);
    match (given.next().and_then(usable), given.next()) {
        (Some(id), None) => Arc::from(id),
        _ => Arc::from(Uuid::now_v7().to_string()),
    }
}

fn usable(value: &HeaderValue) -> Option<&str> {
    let id = value.to_str().ok()?;
    let printable = id.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    (!id.is_empty() && id.len() <= MAX_LENGTH && printable).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_for(values: &[&[u8]]) -> String {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_bytes(value).unwrap());
        }
        of(&headers).to_string()
    }

    #[test]
    fn a_printable_id_of_up_to_128_characters_is_kept() {
        assert_eq!(id_for(&[b"abc-123 ~"]), "abc-123 ~");
        let longest = "x".repeat(128);
        assert_eq!(id_for(&[longest.as_bytes()]), longest);
    }

    #[test]
    fn anything_else_is_replaced_by_a_new_one() {
        for bad in [&b""[..], "x".repeat(129).as_bytes(), "\u{e9}".as_bytes(), b"a\tb", b"\xff"] {
            assert!(Uuid::parse_str(&id_for(&[bad])).is_ok(), "{bad:?}");
        }
        assert!(Uuid::parse_str(&id_for(&[])).is_ok());
        assert!(Uuid::parse_str(&id_for(&[b"one", b"two"])).is_ok());
        assert_ne!(id_for(&[]), id_for(&[]));
    }
}
