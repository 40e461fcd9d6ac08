//! The caller of a request, recognised by a credential and judged by [`super::Access`] before the handler is called.

use std::{
    future::{Ready, ready},
    ops::Deref,
    sync::Arc,
};

use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev::Payload, web};

use super::{bearer::Presented, problem::Problem};
use crate::{
    actors::{
        api_keys::{ApiKeyVerifier, VerifyKey},
        live::Live,
        sessions::{ResolveSession, SessionStore},
    },
    domain::{Caller, Error, Result, token::TokenHash},
};

/// A recognised caller. Every request without a valid credential is answered with the same 401.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Who it is.
    pub caller: Arc<Caller>,
    /// Of the credential that they came with.
    pub hash: TokenHash,
}

impl Deref for Identity {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl FromRequest for Identity {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    /// Moves out who was judged before the handler was called: there is no second look-up.
    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let judged = request.extensions_mut().remove::<Self>();
        ready(judged.ok_or_else(|| Error::internal("the handler of a public endpoint wants a caller").into()))
    }
}

/// Looks up the caller of a request; `None` without a credential.
///
/// # Errors
/// [`Error::Unauthenticated`] for a credential that is not valid; [`Error::Unavailable`] when it could not be looked up.
pub(super) async fn recognise(request: &HttpRequest) -> Result<Option<Identity>> {
    let (caller, hash) = match Presented::of(request.headers())? {
        Presented::None => return Ok(None),
        Presented::Garbage => return Err(Error::Unauthenticated { presented: true }),
        Presented::Session(token) => {
            let hash = token.hash();
            (actor::<Live<SessionStore>>(request)?.ask(ResolveSession { hash }).await?, hash)
        }
        Presented::ApiKey(key) => {
            let hash = key.hash();
            (actor::<Live<ApiKeyVerifier>>(request)?.ask(VerifyKey { hash }).await?, hash)
        }
    };
    Ok(Some(Identity { caller, hash }))
}

fn actor<A: 'static>(request: &HttpRequest) -> Result<&web::Data<A>> {
    request.app_data().ok_or_else(|| Error::internal("an actor is not in the application's state"))
}
