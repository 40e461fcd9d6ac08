//! Every kind of error answer there is: status, stable code, and the text people read.
//!
//! One table, used for the answers themselves, for `/problems`, where their `type` leads, and by the
//! tests, which hold docs/http.md to it.

use serde::Serialize;
use utoipa::ToSchema;

/// One kind of problem.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ProblemKind)]
pub struct Kind {
    /// The HTTP status.
    pub status: u16,
    /// Stable, snake case: what programs look at.
    pub code: &'static str,
    /// The same for every occurrence (RFC 9457, section 3.1.3).
    pub title: &'static str,
    /// What to do about it, where nothing more exact is known.
    pub detail: &'static str,
}

macro_rules! catalogue {
    ($($name:ident: $status:literal $code:literal, $title:literal, $detail:literal;)*) => {
        $(pub(super) const $name: Kind =
            Kind { status: $status, code: $code, title: $title, detail: $detail };)*

        /// All of them, in the order of their status.
        pub const ALL: &[Kind] = &[$($name),*];
    };
}

catalogue! {
    MALFORMED_REQUEST: 400 "malformed_request", "Malformed request", "The request cannot be understood.";
    MULTIPLE_CREDENTIALS: 400 "multiple_credentials", "Multiple credentials",
        "Send exactly one credential, in one Authorization header.";
    INVALID_OR_EXPIRED_TOKEN: 400 "invalid_or_expired_token", "Invalid or expired token",
        "The token is unknown, was used already, or has expired.";
    UNAUTHENTICATED: 401 "unauthenticated", "Unauthenticated",
        "A valid session token or API key is needed: Authorization: Bearer TOKEN.";
    INVALID_CREDENTIALS: 401 "invalid_credentials", "Invalid credentials",
        "The login or the password is wrong.";
    FORBIDDEN: 403 "forbidden", "Forbidden", "This credential may not do this.";
    INSUFFICIENT_SCOPE: 403 "insufficient_scope", "Insufficient scope",
        "The API key lacks the permission that this takes.";
    CURRENT_PASSWORD_INCORRECT: 403 "current_password_incorrect", "Current password incorrect",
        "The current password is wrong.";
    REGISTRATION_CLOSED: 403 "registration_closed", "Registration closed",
        "Accounts are made by an administrator here.";
    NOT_FOUND: 404 "not_found", "Not found", "There is no such thing here.";
    METHOD_NOT_ALLOWED: 405 "method_not_allowed", "Method not allowed",
        "The Allow header names the methods that this resource has.";
    REQUEST_TIMEOUT: 408 "request_timeout", "Request timeout", "The request took too long to arrive.";
    ACCOUNT_EXISTS: 409 "account_exists", "Account exists", "The username or the email is already in use.";
    LAST_ADMIN: 409 "last_admin", "Last admin",
        "The last active admin can be neither demoted, disabled nor deleted.";
    CONFLICT: 409 "conflict", "Conflict", "The object is in a state that does not allow this.";
    IDEMPOTENCY_KEY_IN_PROGRESS: 409 "idempotency_key_in_progress", "Idempotency key in progress",
        "The first request with this Idempotency-Key is still under way: try again.";
    PAYLOAD_TOO_LARGE: 413 "payload_too_large", "Payload too large", "The body is larger than is taken here.";
    URI_TOO_LONG: 414 "uri_too_long", "URI too long", "The address is longer than is taken here.";
    UNSUPPORTED_MEDIA_TYPE: 415 "unsupported_media_type", "Unsupported media type",
        "Send application/json in UTF-8, without a Content-Encoding.";
    EXPECTATION_FAILED: 417 "expectation_failed", "Expectation failed",
        "The only expectation that is met is 100-continue.";
    VALIDATION_FAILED: 422 "validation_failed", "Validation failed",
        "One or more values break a rule: see errors.";
    IDEMPOTENCY_KEY_REUSED: 422 "idempotency_key_reused", "Idempotency key reused",
        "This Idempotency-Key was used for another request.";
    QUOTA_EXCEEDED: 429 "quota_exceeded", "Quota exceeded", "You have as many of these as you may have at once.";
    RATE_LIMITED: 429 "rate_limited", "Rate limited", "Too many requests: slow down.";
    ACCOUNT_LOCKED: 429 "account_locked", "Account locked", "Too many failed log-ins: try again later.";
    HEADERS_TOO_LARGE: 431 "request_header_fields_too_large", "Request header fields too large",
        "The headers are larger, or more, than are taken here.";
    INTERNAL: 500 "internal", "Internal error", "Something went wrong on our side. The request id finds it in our logs.";
    UNAVAILABLE: 503 "unavailable", "Unavailable", "Something this depends on is away or too slow: try again.";
    OVERLOADED: 503 "overloaded", "Overloaded", "Too much to do at the moment: try again.";
}

impl Kind {
    /// The kind for an error that the framework made, of which only the status is known.
    pub(super) fn of_status(status: u16) -> &'static Self {
        let fallback = if status < 500 { &MALFORMED_REQUEST } else { &INTERNAL };
        [
            &NOT_FOUND,
            &METHOD_NOT_ALLOWED,
            &REQUEST_TIMEOUT,
            &PAYLOAD_TOO_LARGE,
            &URI_TOO_LONG,
            &UNSUPPORTED_MEDIA_TYPE,
            &EXPECTATION_FAILED,
            &HEADERS_TOO_LARGE,
            &UNAVAILABLE,
        ]
        .into_iter()
        .find(|kind| kind.status == status)
        .unwrap_or(fallback)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_snake_case_and_in_the_order_of_their_status() {
        let codes: HashSet<_> = ALL.iter().map(|kind| kind.code).collect();
        assert_eq!(codes.len(), ALL.len());
        assert!(codes.iter().all(|code| code.chars().all(|c| c.is_ascii_lowercase() || c == '_')));
        assert!(ALL.is_sorted_by_key(|kind| kind.status));
    }

    #[test]
    fn an_unknown_status_falls_back_to_its_class() {
        assert_eq!(Kind::of_status(405), &METHOD_NOT_ALLOWED);
        assert_eq!(Kind::of_status(426).code, "malformed_request");
        assert_eq!(Kind::of_status(507).code, "internal");
    }
}
