//! Who may reach an endpoint: declared in the route table, and judged before anything of the body is read.

use actix_web::{HttpMessage as _, dev::ServiceRequest};

use super::identity;
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

    /// Recognises the caller and judges what they may do. The handler's [`super::Identity`] is who was judged here.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], [`Error::Forbidden`], [`Error::InsufficientScope`]; [`Error::Unavailable`] when the
    /// credential could not be looked up.
    pub(super) async fn judge(self, request: &ServiceRequest) -> Result<()> {
        let action = match self {
            Self::Public => return Ok(()),
            Self::NeedsUnless(_, is_open) if is_open(request) => return Ok(()),
            Self::Needs(action) | Self::NeedsUnless(action, _) => action,
        };

        let recognised = identity::recognise(request.request()).await?;
        let identity = recognised.ok_or(Error::Unauthenticated { presented: false })?;
        identity.may(action)?;
        request.extensions_mut().insert(identity);
        Ok(())
    }
}
