//! The credential of a request: `Authorization: Bearer` and a session token or an API key (RFC 6750).

use actix_web::http::header::{self, HeaderMap, HeaderValue};

use crate::domain::{Error, api_key::ApiKeySecret, caller, token::SessionToken};

/// What a request came with.
#[derive(Debug, Clone)]
pub enum Presented {
    /// No credential.
    None,
    /// What looks like a session token.
    Session(SessionToken),
    /// What looks like an API key, its checksum included.
    ApiKey(ApiKeySecret),
    /// Something that was never handed out: no query is worth it.
    Garbage,
}

impl Presented {
    /// From the headers of a request.
    ///
    /// # Errors
    /// [`Error::MultipleCredentials`] for more than one, in whatever headers.
    pub fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let Some(line) = only(headers)? else { return Ok(Self::None) };
        let text = line.to_str().unwrap_or_default();
        let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        Ok(match token.and_then(|(_, token)| caller::Presented::parse(token.trim_matches(' '))) {
            Some(caller::Presented::Session(token)) => Self::Session(token),
            Some(caller::Presented::ApiKey(key)) => Self::ApiKey(key),
            None => Self::Garbage,
        })
    }
}

/// The one header with a credential, if there is one.
///
/// # Errors
/// [`Error::MultipleCredentials`].
pub(super) fn only(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Error> {
    let mut lines = headers.get_all(header::AUTHORIZATION);
    match (lines.next(), lines.next(), headers.get("x-api-key")) {
        (line, None, None) | (line @ None, None, Some(_)) => Ok(line),
        _ => Err(Error::MultipleCredentials),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderName;
    use proptest::prelude::*;

    use super::*;

    fn presented(lines: &[(&'static str, &[u8])]) -> Result<Presented, Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        Presented::of(&headers)
    }

    fn one(line: &str) -> Presented {
        presented(&[("authorization", line.as_bytes())]).unwrap()
    }

    #[test]
    fn tokens_and_keys_are_told_apart_and_the_scheme_has_no_case() {
        let token = SessionToken::generate();
        let key = ApiKeySecret::generate();
        for scheme in ["Bearer", "bearer", "BEARER"] {
            for gap in [" ", "   "] {
                let text = format!("{scheme}{gap}{}", token.expose());
                assert!(matches!(one(&text), Presented::Session(same) if same.hash() == token.hash()));
                let text = format!("{scheme}{gap}{}", key.expose());
                assert!(matches!(one(&text), Presented::ApiKey(same) if same.hash() == key.hash()));
            }
        }
        assert!(matches!(presented(&[]), Ok(Presented::None)));
    }

    #[test]
    fn what_was_never_handed_out_is_garbage_and_never_an_error() {
        let token = SessionToken::generate();
        let token = token.expose();
        for line in [
            "",
            "Bearer",
            "Bearer ",
            "Basic dTpw",
            token,
            &format!("Bearer {token}, Bearer {token}"),
            &format!("Bearer {token} {token}"),
            &format!("Bearer\t{token}"),
            &format!("Bearer {token}="),
            &format!("Bearer {}", "a".repeat(10_000)),
            "Bearer \u{e9}",
        ] {
            assert!(matches!(one(line), Presented::Garbage), "{line}");
        }
        assert!(matches!(presented(&[("authorization", b"Bearer \xff")]), Ok(Presented::Garbage)));
    }

    #[test]
    fn more_than_one_credential_is_refused_whatever_they_are() {
        for second in [("authorization", &b"Bearer b"[..]), ("authorization", b""), ("x-api-key", b"b")] {
            let both = presented(&[("authorization", b"Bearer a"), second]);
            assert!(matches!(both, Err(Error::MultipleCredentials)), "{second:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn no_header_makes_the_reader_panic(line in "[ -~]{0,80}|[Bb]earer +[ -~]{0,80}") {
            let _ = one(&line);
        }
    }
}
