//! Bodies that may be left out.

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::{self, HeaderMap},
};
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;
use utoipa::PartialSchema;

use super::{Json, check_head, receive_in_time, rules_for};
use crate::http::Problem;

/// Extracts a JSON object, or nothing from a request without a body. A body has to be as strict as any other.
#[derive(Debug)]
pub struct OptionalJson<T>(Option<Json<T>>);

impl<T> OptionalJson<T> {
    /// What was sent, if something was.
    pub fn into_inner(self) -> Option<T> {
        self.0.map(Json::into_inner)
    }

    /// The bytes that were sent.
    pub fn raw(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |body| body.raw())
    }
}

impl<T: DeserializeOwned + PartialSchema + 'static> FromRequest for OptionalJson<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let headers = request.headers();
        if has_no_body(headers) {
            return Box::pin(async { Ok(Self(None)) });
        }
        if !headers.contains_key(header::TRANSFER_ENCODING) {
            let body = Json::from_request(request, payload);
            return Box::pin(async move { Ok(Self(Some(body.await?))) });
        }

        // In chunks, only the end of the body shows whether there is one. What there is has to be JSON, as everywhere.
        let rules = rules_for(request);
        let head = check_head(headers, rules.limit);
        let payload = payload.take();
        Box::pin(async move {
            let raw = receive_in_time(payload, rules).await?;
            if raw.is_empty() {
                return Ok(Self(None));
            }
            head?;
            Ok(Self(Some(Json::parse(raw)?)))
        })
    }
}

fn has_no_body(headers: &HeaderMap) -> bool {
    !headers.contains_key(header::TRANSFER_ENCODING)
        && headers.get(header::CONTENT_LENGTH).is_none_or(|length| length.as_bytes() == b"0")
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn without_length_or_encoding_there_is_no_body() {
        let of = |name: &HeaderName, value| {
            let mut headers = HeaderMap::new();
            headers.insert(name.clone(), HeaderValue::from_static(value));
            has_no_body(&headers)
        };
        assert!(has_no_body(&HeaderMap::new()));
        assert!(of(&header::CONTENT_LENGTH, "0"));
        assert!(of(&header::CONTENT_TYPE, "application/json"));
        assert!(!of(&header::CONTENT_LENGTH, "2"));
        assert!(!of(&header::TRANSFER_ENCODING, "chunked"));
    }
}
