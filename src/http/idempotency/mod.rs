//! `Idempotency-Key`: the same request twice is done once, and answered twice.
//!
//! A key belongs to a user, whatever credential he comes with, and is known for 24 hours. Two requests are the same when
//! method, path and the bytes of the body are. Only good answers are kept: what was refused may be tried again.
//!
//! Tasks are stored in one transaction with their answer. Everything else claims the `Idempotency-Key` before, and stores
//! the answer after; that of a new or rotated API key holds its secret, which is never at rest in clear: see [`seal`].

mod seal;

use std::future::{Ready, ready};

use actix_web::{
    FromRequest, HttpRequest, HttpResponse,
    body::MessageBody,
    dev::Payload,
    http::{Method, StatusCode, header},
};
use sha2::{Digest as _, Sha256};

use self::seal::Seal;
use super::{Identity, Problem, bearer::Presented};
use crate::{
    actors::{
        dispatcher::{ClaimKey, FinishKey, TaskDispatcher},
        live::Live,
    },
    domain::{
        Error, Result,
        idempotency::{Answer, IdempotencyKey},
    },
    telemetry,
};

const HEADER: &str = "idempotency-key";

/// What makes a request the one that it is, with the key that it came with.
///
/// Extracted from every request to a route that honours the header; costs nothing when it is not there.
#[derive(Debug, Clone)]
pub struct Idempotency {
    key: Option<String>,
    method: Method,
    path: String,
    presented: Presented,
}

/// How an answer is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtRest {
    /// As it is.
    Clear,
    /// For the credential that the request came with: it holds a secret.
    Sealed,
}

impl FromRequest for Idempotency {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request).map_err(Problem::from))
    }
}

impl Idempotency {
    fn of(request: &HttpRequest) -> Result<Self> {
        let mut lines = request.headers().get_all(HEADER);
        let key = match (lines.next(), lines.next()) {
            (None, _) => None,
            (Some(line), None) => {
                let text = line.to_str().unwrap_or_default();
                IdempotencyKey::check(text)?;
                Some(text.to_owned())
            }
            _ => return Err(Error::malformed("Idempotency-Key is there twice.")),
        };
        let presented = Presented::of(request.headers())?;
        Ok(Self { key, method: request.method().clone(), path: request.path().to_owned(), presented })
    }

    /// The caller's key for this request, if he sent one.
    pub fn key(&self, identity: &Identity, body: &[u8]) -> Option<IdempotencyKey> {
        let text = self.key.clone()?;
        let mut hash = Sha256::new();
        for part in [self.method.as_str().as_bytes(), self.path.as_bytes(), body] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Some(IdempotencyKey { user: identity.user.id, text, request_hash: hash.finalize().into() })
    }

    /// Carries out `work` once under `key`, if there is one, and keeps its answer.
    ///
    /// The client may go away meanwhile: what was begun is finished.
    ///
    /// # Errors
    /// Those of `work`; [`Error::IdempotencyKeyReused`]; a conflict while the first request is under way, or when
    /// its answer was sealed for another credential.
    pub async fn once<W>(
        &self,
        key: Option<IdempotencyKey>,
        rest: AtRest,
        dispatcher: &Live<TaskDispatcher>,
        work: W,
    ) -> Result<HttpResponse, Problem>
    where
        W: Future<Output = Result<Answer>> + 'static,
    {
        let Some(key) = key else { return Ok(respond(work.await?, false)) };
        let seal = (rest == AtRest::Sealed).then(|| Seal::new(&self.presented, &key));
        if let Some(mut answer) = dispatcher.ask(ClaimKey(key.clone())).await? {
            if let Some(seal) = seal.filter(|_| answer.sealed) {
                answer.body = seal.open(&answer.body)?;
            }
            return Ok(respond(answer, true));
        }
        let dispatcher = dispatcher.clone();
        let finished = async move {
            let outcome = work.await;
            let close = |answer: &Answer| seal.map_or_else(|| Ok(answer.clone()), |seal| seal.close(answer));
            let kept = outcome.as_ref().ok().map(close).transpose()?;
            let finish = FinishKey { key, answer: kept };
            if let Err(error) = dispatcher.ask(finish).await {
                log::warn!(error:% = error; "the answer under an idempotency key was not kept");
            }
            outcome
        };
        let id = telemetry::request_id().unwrap_or_default();
        let finished = actix_web::rt::spawn(telemetry::with_request_id(id, finished));
        let answer = finished.await.map_err(Error::internal)??;
        Ok(respond(answer, false))
    }
}

/// The answer as it is sent, for the first time or again.
pub(super) fn respond(answer: Answer, replayed: bool) -> HttpResponse {
    respond_with(answer, replayed, |body| body)
}

/// As [`respond`], with a body of another kind.
pub(super) fn respond_with<B: MessageBody + 'static>(
    answer: Answer,
    replayed: bool,
    body: impl FnOnce(Vec<u8>) -> B,
) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    if let Some(location) = answer.location {
        response.insert_header((header::LOCATION, location));
    }
    if replayed {
        response.insert_header(("idempotent-replayed", "true"));
    }
    response.content_type(header::ContentType::json()).body(body(answer.body))
}
