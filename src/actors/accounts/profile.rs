//! What everybody may do with his own account.

use std::sync::Arc;

use actix::Message;

use super::{
    Accounts,
    password::prove_owner,
    users::{change, delete},
};
use crate::{
    db,
    domain::{
        Caller, Email, Error, Forget, PresentedPassword, Result, User, Username, account::Changes,
        audit::Actor,
    },
};

/// Changes the caller's name or address. [`Error::Invalid`] at `/username` for a reserved name.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<User>")]
pub struct ChangeProfile {
    /// Whose.
    pub by: Arc<Caller>,
    /// Another name.
    pub username: Option<Username>,
    /// Another address.
    pub email: Option<Email>,
    /// Who, for the log.
    pub actor: Actor,
}

pub(super) async fn answer_change(accounts: Accounts, message: ChangeProfile) -> Result<User> {
    let ChangeProfile { by, username, email, actor } = message;
    let reserved = username.as_ref().is_some_and(|new| new.is_reserved() && *new != by.user.username);
    if reserved && !by.is_admin() {
        return Err(Error::invalid("/username", "reserved_username", "kept for the operator of the service"));
    }
    let changes = Changes { username, email, ..Changes::default() };
    let user = change(&mut *accounts.tools.pool.get().await?, &actor, by.user.id, changes).await?;
    accounts.revoker.revoked(Forget::User(user.id)).await;
    Ok(user)
}

/// Deletes the caller's account. [`Error::CurrentPasswordIncorrect`], which counts as a failed log-in.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<()>")]
pub struct DeleteProfile {
    /// Whose.
    pub by: Arc<Caller>,
    /// His.
    pub password: PresentedPassword,
    /// Who, for the log.
    pub actor: Actor,
}

pub(super) async fn answer_delete(accounts: Accounts, message: DeleteProfile) -> Result<()> {
    let DeleteProfile { by, password, actor } = message;
    let tools = &accounts.tools;
    let account = db::users::account(&mut *tools.pool.get().await?, by.user.id).await?;
    prove_owner(tools, &account, &actor, "user.delete", password).await?;
    delete(&mut *tools.pool.get().await?, &actor, by.user.id).await?;
    accounts.revoker.revoked(Forget::User(by.user.id)).await;
    Ok(())
}
