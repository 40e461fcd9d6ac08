//! Notes refused acts of known callers for the audit log, off the request's way.

use actix_web::{FromRequest as _, HttpRequest, HttpResponse, dev::Payload, web};

use super::{origin::RequestOrigin, problem::Problem};
use crate::{
    actors::{
        accounts::{Accounts, NoteDenied},
        live::Live,
    },
    domain::{
        Caller, Error,
        audit::{Act, Actor},
    },
};

/// Notes that the caller was refused at this route, a pattern of the route table, if this error means it.
pub(super) fn note(request: &HttpRequest, route: &str, caller: &Caller, error: &Error) {
    let code = match error {
        Error::Forbidden | Error::EmailNotVerified => "forbidden",
        Error::InsufficientScope => "insufficient_scope",
        _ => return,
    };
    let Some(accounts) = request.app_data::<web::Data<Live<Accounts>>>().cloned() else { return };
    let origin = RequestOrigin::from_request(request, &mut Payload::None).into_inner();
    let Ok(RequestOrigin(origin)) = origin else { return };

    let act = Act::denied("access.deny").with("method", request.method().as_str());
    let act = act.with("route", route).with("code", code);
    let message = NoteDenied { actor: Actor::of(caller, origin), act };
    actix_web::rt::spawn(async move {
        if let Err(error) = accounts.ask(message).await {
            log::warn!(error:% = error; "edge failed to note a refused act");
        }
    });
}

/// Notes that the handler refused the caller, if it did: what takes more rights than the endpoint is known only there.
pub(super) fn note_answer(request: &HttpRequest, route: &str, caller: &Caller, answer: &HttpResponse) {
    let problem = answer.error().and_then(|error| error.as_error::<Problem>());
    if let Some(Problem::Domain(error)) = problem {
        note(request, route, caller, error);
    }
}
