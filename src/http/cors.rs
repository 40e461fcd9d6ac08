//! Which pages of other origins may read our answers: those listed, exactly.
//!
//! Credentials come in a header that a page must set itself, never in cookies, so
//! `Access-Control-Allow-Credentials` is never sent.

use actix_web::{
    HttpResponse,
    http::{
        Method, StatusCode,
        header::{self, HeaderMap, HeaderValue},
    },
};

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PATCH, DELETE");
const REQUEST_HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, idempotency-key, last-event-id, x-request-id");
const ANSWER_HEADERS: HeaderValue = HeaderValue::from_static(
    "allow, idempotent-replayed, location, retry-after, www-authenticate, x-request-id",
);

/// The origins that are let in.
#[derive(Debug, Default)]
pub(super) struct Cors(Vec<HeaderValue>);

impl Cors {
    pub(super) fn new(origins: &[String]) -> Self {
        Self(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect())
    }

    /// What to tell the browser about the page that asks, if it may read the answer.
    pub(super) fn grant(&self, request: &HeaderMap) -> Option<HeaderValue> {
        let origin = request.get(header::ORIGIN)?;
        self.0.iter().find(|allowed| *allowed == origin).cloned()
    }

    /// The answer to the question that browsers ask before they send the request itself.
    pub(super) fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<HttpResponse> {
        let asks = method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !asks || self.grant(headers).is_none() {
            return None;
        }
        let mut answer = HttpResponse::new(StatusCode::NO_CONTENT);
        let out = answer.headers_mut();
        out.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        out.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
        out.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        Some(answer)
    }

    /// Marks the answer: readable for the page granted, and different for every origin.
    pub(super) fn mark(&self, grant: Option<HeaderValue>, answer: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        answer.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = grant {
            answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_HEADERS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(origin: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        Cors::new(&["https://app.example".to_owned()]).grant(&headers).is_some()
    }

    #[test]
    fn only_the_exact_origin_is_let_in() {
        assert!(granted("https://app.example"));
        for other in [
            "https://app.example.evil.example",
            "https://evil.example",
            "https://app.example:444",
            "http://app.example",
            "https://APP.example",
            "null",
            "",
        ] {
            assert!(!granted(other), "{other}");
        }
    }

    #[test]
    fn without_a_list_nothing_is_said_at_all() {
        let mut answer = HeaderMap::new();
        Cors::default().mark(None, &mut answer);
        assert!(answer.is_empty());
    }
}
