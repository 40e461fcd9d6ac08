//! Bodies: strictly JSON objects, strictly of the form that the route documents.
//!
//! What serde and the framework would let pass is refused here: a positional array for an object,
//! a `Content-Encoding` that nobody decodes, U+0000 (which PostgreSQL cannot store), unknown
//! fields, a body that dribbles in for ever. What goes back to the caller names our own fields
//! only and holds nothing of the input.

mod fields;
mod optional;
mod read;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, time::Duration};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    error::PayloadError,
    http::header::{self, HeaderMap},
    web::{Bytes, BytesMut},
};
use futures_util::{StreamExt, future::LocalBoxFuture};
use serde::de::DeserializeOwned;
use utoipa::PartialSchema;

pub use self::{
    fields::{Object, nullable, payload},
    optional::OptionalJson,
};

use super::{endpoint::Matched, problem::Problem};
use crate::domain::{Error, Violation};

/// What every body may be.
#[derive(Debug, Clone, Copy)]
pub struct BodyRules {
    /// Bytes; routes that take a password take at most [`PASSWORD_BODY_LIMIT`].
    pub limit: usize,
    /// From the end of the head to the last byte of the body.
    pub patience: Duration,
}

impl Default for BodyRules {
    fn default() -> Self {
        Self { limit: 262_144, patience: Duration::from_secs(10) }
    }
}

/// Bytes of a body on a route that takes a password.
pub const PASSWORD_BODY_LIMIT: usize = 16 * 1024;

/// A body that is checked further: from what was sent to what the domain takes.
pub trait Input {
    /// What the domain takes.
    type Output;

    /// Every rule that a value breaks, or the values.
    ///
    /// # Errors
    /// All violations, not only the first.
    fn validate(self) -> Result<Self::Output, Vec<Violation>>;
}

/// Extracts a JSON object.
///
/// `T` derives `Deserialize` and `ToSchema`, with `#[serde(deny_unknown_fields)]`. A field that
/// must be there is not an `Option`; null is absent, since clients with models send it for what nobody set; where null
/// and absent mean different things, the field is
/// `#[serde(default, deserialize_with = "json::nullable")] Option<Option<_>>`; objects below the
/// first level are [`Object`]. Numbers are `i64`, whose range [`Input::validate`] checks.
#[derive(Debug)]
pub struct Json<T> {
    /// What was sent.
    pub value: T,
    raw: Bytes,
}

impl<T> Json<T> {
    /// What was sent.
    pub fn into_inner(self) -> T {
        self.value
    }

    fn parse(raw: Bytes) -> Result<Self, Problem>
    where
        T: DeserializeOwned + PartialSchema,
    {
        Ok(Self { value: read::parse(&raw)?, raw })
    }

    /// The bytes as they came, to recognise the same request by.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }
}

impl<T: Input> Json<T> {
    /// What the domain takes, or 422 with every bad field.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn validate(self) -> Result<T::Output, Error> {
        self.value.validate().map_err(Error::Invalid)
    }
}

impl<T: DeserializeOwned + PartialSchema> FromRequest for Json<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let rules = rules_for(request);
        let head = check_head(request.headers(), rules.limit);
        let payload = payload.take();
        Box::pin(async move {
            head?;
            Self::parse(receive_in_time(payload, rules).await?)
        })
    }
}

fn rules_for(request: &HttpRequest) -> BodyRules {
    let mut rules = request.app_data::<BodyRules>().copied().unwrap_or_default();
    if request.extensions().get::<Matched>().is_some_and(Matched::takes_password) {
        rules.limit = rules.limit.min(PASSWORD_BODY_LIMIT);
    }
    rules
}

/// What can be refused before the body is read.
fn check_head(headers: &HeaderMap, limit: usize) -> Result<(), Problem> {
    if !is_json(headers) || is_encoded(headers) {
        return Err(Problem::UnsupportedMediaType);
    }
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match declared.and_then(|length| length.parse::<u64>().ok()) {
        Some(length) if length > limit as u64 => Err(Problem::PayloadTooLarge),
        _ => Ok(()),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE);
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let Ok(value) = value.to_str() else { return false };
    let mut parts = value.split(';').map(str::trim);
    parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
        && parts.filter_map(|parameter| parameter.split_once('=')).all(|(name, value)| {
            !name.trim().eq_ignore_ascii_case("charset") || is_utf8(value.trim().trim_matches('"'))
        })
}

/// Whether a charset is UTF-8, also by the name without the hyphen that the Encoding Standard knows and Java and PHP clients send.
fn is_utf8(charset: &str) -> bool {
    charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("utf8")
}

fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_ENCODING).any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

async fn receive_in_time(payload: Payload, rules: BodyRules) -> Result<Bytes, Problem> {
    tokio::time::timeout(rules.patience, receive(payload, rules.limit))
        .await
        .map_err(|_late| Problem::RequestTimeout)?
}

async fn receive(mut payload: Payload, limit: usize) -> Result<Bytes, Problem> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| match error {
            PayloadError::Overflow => Problem::PayloadTooLarge,
            _ => Problem::BrokenBody,
        })?;
        if body.len() + chunk.len() > limit {
            return Err(Problem::PayloadTooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn malformed(why: impl Into<Cow<'static, str>>) -> Problem {
    Error::malformed(why).into()
}
