//! What went wrong, as an answer: problem documents (RFC 9457).
//!
//! The only place that knows which status and code an error has. Handlers return
//! `Result<_, Problem>`, and `?` turns every [`Error`] of the domain into one.

use std::{borrow::Cow, fmt, time::Duration};

use actix_web::{
    HttpResponse, HttpResponseBuilder, ResponseError,
    http::{ConnectionType, Method, StatusCode, header},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::catalogue::{self as kinds, Kind};
use crate::{
    domain::{Conflict, Error, Violation},
    telemetry,
};

/// Why a request got no good answer.
#[derive(Debug, Clone)]
pub enum Problem {
    /// What the domain refused or could not do.
    Domain(Error),
    /// The resource is there and has other methods.
    MethodNotAllowed(Vec<Method>),
    /// The request, or the rest of it, did not arrive in time.
    RequestTimeout,
    /// The body ended early, or its chunks are no chunks.
    BrokenBody,
    /// The body is larger than this route takes.
    PayloadTooLarge,
    /// The body is not JSON in UTF-8, or is encoded.
    UnsupportedMediaType,
    /// The process is starting or stopping, or lacks what it needs: said where that is found out, not for every request.
    NotReady,
    /// The answer took longer than a request may take.
    TimedOut,
    /// A handler panicked. The panic itself was logged where it happened.
    Panicked,
    /// An error of the framework, known by its status only.
    Framework(StatusCode),
}

/// The body of every error answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Document<'a> {
    /// What kind of problem this is: `/problems/` and the code.
    #[schema(example = "/problems/validation_failed")]
    r#type: Cow<'a, str>,
    /// The kind, in words.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What to do about it.
    detail: &'a str,
    /// Stable, snake case: the one to look at in programs.
    #[schema(example = "validation_failed")]
    code: &'a str,
    /// The `X-Request-Id` of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    /// For `validation_failed`: every bad field.
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<Vec<FieldError<'a>>>,
}

/// One field whose value breaks a rule.
#[derive(Debug, Serialize, ToSchema)]
struct FieldError<'a> {
    /// JSON pointer (RFC 6901) to the field.
    #[schema(example = "/email")]
    field: &'a str,
    /// Stable, snake case.
    #[schema(example = "invalid_email")]
    code: &'a str,
    /// For people.
    message: &'a str,
}

impl<'a> From<&'a Violation> for FieldError<'a> {
    fn from(violation: &'a Violation) -> Self {
        Self { field: &violation.field, code: violation.code, message: &violation.message }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Domain(error)
    }
}

impl Problem {
    fn kind(&self) -> &'static Kind {
        match self {
            Self::Domain(error) => kind_of(error),
            Self::MethodNotAllowed(_) => &kinds::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => &kinds::REQUEST_TIMEOUT,
            Self::BrokenBody => &kinds::MALFORMED_REQUEST,
            Self::PayloadTooLarge => &kinds::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => &kinds::UNSUPPORTED_MEDIA_TYPE,
            Self::NotReady | Self::TimedOut => &kinds::UNAVAILABLE,
            Self::Panicked => &kinds::INTERNAL,
            Self::Framework(status) => Kind::of_status(status.as_u16()),
        }
    }

    /// The one text that may differ between two problems of the same kind; never holds input.
    fn detail(&self) -> &str {
        match self {
            Self::Domain(Error::Malformed(why)) => why,
            Self::Domain(Error::Conflict(Conflict::State(why))) => why,
            Self::Domain(Error::QuotaExceeded { detail, .. }) => detail,
            Self::Domain(Error::EmailNotVerified) => "Verify your e-mail address first.",
            Self::BrokenBody => "The body ended early, or is framed wrongly.",
            _ => self.kind().detail,
        }
    }

    fn violations(&self) -> Option<&[Violation]> {
        match self {
            Self::Domain(Error::Invalid(violations)) => Some(violations),
            _ => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Domain(
                Error::RateLimited { retry_after }
                | Error::AccountLocked { retry_after }
                | Error::QuotaExceeded { retry_after, .. },
            ) => Some(*retry_after),
            _ if self.kind().status == 503 => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    fn challenge(&self) -> Option<&'static str> {
        match self {
            Self::Domain(Error::Unauthenticated { presented: true }) => {
                Some(r#"Bearer realm="starter", error="invalid_token""#)
            }
            Self::Domain(Error::Unauthenticated { presented: false } | Error::InvalidCredentials) => {
                Some(r#"Bearer realm="starter""#)
            }
            Self::Domain(Error::InsufficientScope) => {
                Some(r#"Bearer realm="starter", error="insufficient_scope""#)
            }
            _ => None,
        }
    }

    /// The request may still be arriving: the connection cannot be used again.
    fn closes(&self) -> bool {
        matches!(self, Self::BrokenBody | Self::RequestTimeout | Self::PayloadTooLarge)
    }

    /// The document, for the request with this id.
    pub(super) fn document<'a>(&'a self, request_id: Option<&'a str>) -> Document<'a> {
        let kind = self.kind();
        Document {
            r#type: Cow::Owned(format!("/problems/{}", kind.code)),
            title: kind.title,
            status: kind.status,
            detail: self.detail(),
            code: kind.code,
            request_id,
            errors: self.violations().map(|all| all.iter().map(FieldError::from).collect()),
        }
    }

    /// Logs it once: what an operator must see as error or warning, the rest for debugging.
    fn log(&self) {
        let code = self.kind().code;
        match self {
            Self::Domain(error @ (Error::Internal(_) | Error::Unavailable { .. })) => {
                log::error!(code, error:err = *error; "request failed");
            }
            Self::TimedOut | Self::Panicked => log::error!(code; "request failed"),
            Self::Domain(Error::Overloaded) => log::warn!(code; "request refused"),
            _ => log::debug!(code; "request refused"),
        }
    }
}

fn kind_of(error: &Error) -> &'static Kind {
    match error {
        Error::Malformed(_) => &kinds::MALFORMED_REQUEST,
        Error::Invalid(_) => &kinds::VALIDATION_FAILED,
        Error::Unauthenticated { .. } => &kinds::UNAUTHENTICATED,
        Error::MultipleCredentials => &kinds::MULTIPLE_CREDENTIALS,
        Error::InvalidCredentials => &kinds::INVALID_CREDENTIALS,
        Error::InvalidToken => &kinds::INVALID_OR_EXPIRED_TOKEN,
        Error::CurrentPasswordIncorrect => &kinds::CURRENT_PASSWORD_INCORRECT,
        Error::Forbidden | Error::EmailNotVerified => &kinds::FORBIDDEN,
        Error::InsufficientScope => &kinds::INSUFFICIENT_SCOPE,
        Error::RegistrationClosed => &kinds::REGISTRATION_CLOSED,
        Error::NotFound => &kinds::NOT_FOUND,
        Error::Conflict(Conflict::AccountExists) => &kinds::ACCOUNT_EXISTS,
        Error::Conflict(Conflict::LastAdmin) => &kinds::LAST_ADMIN,
        Error::Conflict(Conflict::IdempotencyKeyInProgress) => &kinds::IDEMPOTENCY_KEY_IN_PROGRESS,
        Error::Conflict(Conflict::State(_)) => &kinds::CONFLICT,
        Error::IdempotencyKeyReused => &kinds::IDEMPOTENCY_KEY_REUSED,
        Error::RateLimited { .. } => &kinds::RATE_LIMITED,
        Error::QuotaExceeded { .. } => &kinds::QUOTA_EXCEEDED,
        Error::AccountLocked { .. } => &kinds::ACCOUNT_LOCKED,
        Error::Overloaded => &kinds::OVERLOADED,
        Error::Unavailable { .. } => &kinds::UNAVAILABLE,
        Error::Internal(_) => &kinds::INTERNAL,
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().code)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.kind().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        self.log();
        let mut answer = HttpResponseBuilder::new(self.status_code());
        if let Some(challenge) = self.challenge() {
            answer.insert_header((header::WWW_AUTHENTICATE, challenge));
        }
        if let Some(wait) = self.retry_after() {
            answer.insert_header((header::RETRY_AFTER, whole_seconds(wait)));
        }
        if let Self::MethodNotAllowed(methods) = self {
            answer.insert_header(header::Allow(methods.clone()));
        }
        let request_id = telemetry::request_id();
        let body = serde_json::to_vec(&self.document(request_id.as_deref())).unwrap_or_default();
        let mut answer = answer.content_type("application/problem+json").body(body);
        if self.closes() {
            answer.head_mut().set_connection_type(ConnectionType::Close);
        }
        answer
    }
}

/// Rounded up: who waits that long must not come too early.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(answer: &HttpResponse, name: header::HeaderName) -> Option<&str> {
        answer.headers().get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn a_missing_credential_is_told_apart_from_a_bad_one_by_the_challenge_only() {
        let none = Problem::from(Error::Unauthenticated { presented: false });
        let bad = Problem::from(Error::Unauthenticated { presented: true });

        assert_eq!(
            serde_json::to_value(none.document(None)).unwrap(),
            serde_json::to_value(bad.document(None)).unwrap()
        );
        let challenge = |problem: &Problem| {
            header(&problem.error_response(), header::WWW_AUTHENTICATE).map(str::to_owned)
        };
        assert_eq!(challenge(&none).unwrap(), r#"Bearer realm="starter""#);
        assert_eq!(challenge(&bad).unwrap(), r#"Bearer realm="starter", error="invalid_token""#);
    }

    #[test]
    fn a_validation_problem_names_every_bad_field() {
        let problem = Problem::from(Error::Invalid(vec![
            Violation::new("/email", "invalid_email", "not an e-mail address"),
            Violation::new("/password", "too_short", "at least 12 characters"),
        ]));
        assert_eq!(
            serde_json::to_value(problem.document(Some("r1"))).unwrap(),
            serde_json::json!({
                "type": "/problems/validation_failed",
                "title": "Validation failed",
                "status": 422,
                "detail": "One or more values break a rule: see errors.",
                "code": "validation_failed",
                "request_id": "r1",
                "errors": [
                    {"field": "/email", "code": "invalid_email", "message": "not an e-mail address"},
                    {"field": "/password", "code": "too_short", "message": "at least 12 characters"},
                ],
            })
        );
    }

    #[test]
    fn the_text_of_an_internal_error_stays_inside() {
        let problem = Problem::from(Error::internal("relation \"users\" does not exist"));
        let document = serde_json::to_string(&problem.document(None)).unwrap();
        assert!(!document.contains("relation"), "{document}");
        assert_eq!(problem.status_code(), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn waiting_times_are_whole_seconds_rounded_up() {
        let limited = Problem::from(Error::RateLimited { retry_after: Duration::from_millis(1100) });
        assert_eq!(header(&limited.error_response(), header::RETRY_AFTER), Some("2"));
        let away = Problem::from(Error::Unavailable { what: "database", cause: None });
        assert_eq!(header(&away.error_response(), header::RETRY_AFTER), Some("1"));
    }
}
