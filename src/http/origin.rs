//! Where a request came from, for the audit log and the list of sessions.

use std::{
    future::{Ready, ready},
    sync::Arc,
};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::{self, HeaderMap},
};

use super::{client_ip::ClientIp, problem::Problem};
use crate::{domain::Origin, telemetry};

/// Characters of a `User-Agent` that are kept.
const MAX_CHARS: usize = 512;

/// Extracts where a request came from.
#[derive(Debug, Clone)]
pub struct RequestOrigin(pub Origin);

impl FromRequest for RequestOrigin {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let client = ClientIp::from_request(request, payload).into_inner();
        ready(client.map(|client| {
            Self(Origin {
                ip_address: Some(client.0),
                user_agent: user_agent(request.headers()),
                request_id: telemetry::request_id(),
            })
        }))
    }
}

/// The header without control characters, cut between two characters.
fn user_agent(headers: &HeaderMap) -> Option<Arc<str>> {
    let text = String::from_utf8_lossy(headers.get(header::USER_AGENT)?.as_bytes());
    let kept: String = text.chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect();
    (!kept.is_empty()).then(|| kept.into())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn kept(bytes: &[u8]) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_bytes(bytes).unwrap());
        user_agent(&headers).map(|text| text.to_string())
    }

    #[test]
    fn a_user_agent_is_cut_between_characters() {
        assert_eq!(kept(b"curl/8.0").as_deref(), Some("curl/8.0"));
        assert_eq!(kept(b""), None);
        assert_eq!(kept("é".repeat(600).as_bytes()).unwrap(), "é".repeat(512));
        assert_eq!(kept(b"a\tb\xff").as_deref(), Some("ab\u{fffd}"));
        assert_eq!(user_agent(&HeaderMap::new()), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_kept_fits_the_column(bytes in prop::collection::vec(b' '..=255u8, 0..700)) {
            prop_assume!(HeaderValue::from_bytes(&bytes).is_ok());
            if let Some(text) = kept(&bytes) {
                prop_assert!((1..=512).contains(&text.chars().count()));
                prop_assert!(!text.chars().any(char::is_control));
            }
        }
    }
}
