//! Who is asking: extractors that recognise the caller by his credential.
//!
//! Put them first among a handler's arguments, so that a stranger is told only that he is one. What the caller may do
//! is decided by [`Caller::may`].

use std::{ops::Deref, sync::Arc};

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use futures_util::future::LocalBoxFuture;

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
    /// Of the credential that he came with.
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
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let recognised = recognise(&request).await?;
            Ok(recognised.ok_or(Error::Unauthenticated { presented: false })?)
        })
    }
}

/// A recognised caller, or somebody who came without any credential. A credential that is not valid is a 401
/// here too.
#[derive(Debug, Clone)]
pub struct MaybeIdentity(pub Option<Identity>);

impl FromRequest for MaybeIdentity {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move { Ok(Self(recognise(&request).await?)) })
    }
}

async fn recognise(request: &HttpRequest) -> Result<Option<Identity>> {
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
