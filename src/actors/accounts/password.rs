//! Another password, by somebody who knows the present one.

use std::sync::Arc;

use actix::Message;
use secrecy::SecretString;

use super::{Accounts, Tools, proof::prove_again, register::post};
use crate::{
    actors::hashers::Share,
    db::{self, Connection, Transactional as _},
    domain::{
        Caller, Credential, Error, Forget, NewPassword, PasswordHash, PresentedPassword, Result, SessionId,
        UserId,
        account::Account,
        audit::{Act, Actor, Target},
        letter::Letter,
    },
};

/// Sets another password. Every other session of the user ends, and what was mailed to him is void.
///
/// [`Error::CurrentPasswordIncorrect`], which counts as a failed log-in; [`Error::Invalid`] at `/new_password`.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<()>")]
pub struct ChangePassword {
    /// Whose.
    pub by: Arc<Caller>,
    /// The one that he has.
    pub current: PresentedPassword,
    /// The one that he wants.
    pub new: SecretString,
    /// Who, for the log.
    pub actor: Actor,
}

pub(super) async fn answer(accounts: Accounts, message: ChangePassword) -> Result<()> {
    let ChangePassword { by, current, new, actor } = message;
    let tools = &accounts.tools;
    let Credential::Session { id: session, .. } = by.credential else { return Err(Error::Forbidden) };
    let account = db::users::account(&mut *tools.pool.get().await?, by.user.id).await?;
    prove_owner(tools, &account, &actor, "user.password.change", current.clone()).await?;
    let new = tools.policy.check("/new_password", &new, &account.user.username, &account.user.email);
    let new = new.map_err(|violation| Error::Invalid(vec![violation]))?;
    if new.is(&current) {
        return Err(Error::invalid("/new_password", "password_unchanged", "the password that you have"));
    }
    replace(tools, &actor, &account, new, session).await?;
    accounts.revoker.revoked(Forget::User(by.user.id)).await;
    Ok(())
}

/// Asks for the password once more. A wrong one is written down.
pub(super) async fn prove_owner(
    tools: &Tools,
    account: &Account,
    actor: &Actor,
    action: &'static str,
    password: PresentedPassword,
) -> Result<()> {
    let (user, stored) = (account.user.id, account.password_hash.clone());
    let proof = prove_again(tools, user, actor.origin.ip_address, password, stored).await;
    if matches!(proof, Err(Error::CurrentPasswordIncorrect)) {
        let act = Act::refused(action, Some(Target::from(user))).with("why", "current_password_incorrect");
        db::audit::append(&mut *tools.pool.get().await?, actor, act).await?;
    }
    proof
}

async fn replace(
    tools: &Tools,
    actor: &Actor,
    account: &Account,
    new: NewPassword,
    session: SessionId,
) -> Result<()> {
    let hash = tools.hashers.hash(new, Share::Accounts).await?;
    tools
        .pool
        .get()
        .await?
        .transaction(async |connection| {
            let now = db::users::lock(connection, account.user.id).await?;
            // Two changes at once, both with the password of before: the second proved nothing.
            if now.auth_version != account.auth_version {
                return Err(Error::CurrentPasswordIncorrect);
            }
            set(connection, now.user.id, &hash, Some(session)).await?;
            let act = Act::done("user.password.change", now.user.id);
            db::audit::append(connection, actor, act).await?;
            post(connection, actor, &Letter::PasswordChanged(now.user.id)).await
        })
        .await
}

/// Sets a password and all that goes with it: sessions end, but `except`, and what was mailed is void. The user is
/// locked already.
pub(super) async fn set(
    connection: &mut Connection,
    user: UserId,
    hash: &PasswordHash,
    except: Option<SessionId>,
) -> Result<()> {
    db::users::set_password(connection, user, hash).await?;
    db::sessions::close_all(connection, user, except).await?;
    db::one_time_tokens::void(connection, user).await
}
