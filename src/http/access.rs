//! Who may reach an endpoint: declared in the route table, and judged before anything of the body is read.

use actix_web::dev::ServiceRequest;

use super::{
    denied,
    identity::{self, Identity},
};
use crate::domain::{Action, Error, Result};

/// Who may reach an endpoint.
#[derive(Debug, Clone, Copy)]
pub enum Access {
    /// Anybody; no credential is looked at.
    Public,
    /// Callers who may do this.
    Needs(Action),
    /// Callers who may do this, or anybody where the process is configured so.
    NeedsUnless(Action, fn(&ServiceRequest) -> bool),
}

impl From<Action> for Access {
    fn from(action: Action) -> Self {
        Self::Needs(action)
    }
}

impl Access {
    /// What a caller must be allowed; `None` where anybody may come.
    pub fn action(self) -> Option<Action> {
        match self {
            Self::Public => None,
            Self::Needs(action) | Self::NeedsUnless(action, _) => Some(action),
        }
    }

    /// Recognises the caller and judges what they may do; `None` where anybody may come. A refusal of a known caller is
    /// noted for the audit log.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], [`Error::Forbidden`], [`Error::InsufficientScope`]; [`Error::Unavailable`] when the
    /// credential could not be looked up.
    pub(super) async fn judge(self, route: &str, request: &ServiceRequest) -> Result<Option<Identity>> {
        let action = match self {
            Self::Public => return Ok(None),
            Self::NeedsUnless(_, is_open) if is_open(request) => return Ok(None),
            Self::Needs(action) | Self::NeedsUnless(action, _) => action,
        };

        let recognised = identity::recognise(request.request()).await?;
        let identity = recognised.ok_or(Error::Unauthenticated { presented: false })?;
        let judged = identity.may(action);
        judged.inspect_err(|error| denied::note(request.request(), route, &identity, error))?;
        Ok(Some(identity))
    }
}
