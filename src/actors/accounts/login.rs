//! Log-in with a password.

use actix::Message;
use sha2::{Digest as _, Sha256};

use super::{
    Accounts, Tools,
    proof::{Proof, prove},
};
use crate::{
    actors::{
        hashers::Share,
        sessions::{NewSession, OpenSession},
    },
    db,
    domain::{
        Error, Login, PresentedPassword, Result, UserId,
        account::Account,
        audit::{Act, Actor, Target},
        throttle,
    },
};

/// Opens a session for whoever knows the password.
///
/// [`Error::InvalidCredentials`], never saying why; [`Error::AccountLocked`], for accounts that do not exist too.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<NewSession>")]
pub struct Authenticate {
    /// Who he says he is.
    pub login: Login,
    /// How he proves it.
    pub password: PresentedPassword,
    /// From where: nobody yet.
    pub actor: Actor,
}

pub(super) async fn answer(accounts: Accounts, message: Authenticate) -> Result<NewSession> {
    let Authenticate { login, password, actor } = message;
    let tools = &accounts.tools;
    tools.hashers.has_room(Share::Accounts)?;
    let found = db::users::by_login(&mut *tools.pool.get().await?, &login).await?;
    let account = match &found {
        Some(found) => throttle::Account::Of(found.user.id),
        None => throttle::Account::Unknown(&login),
    };
    // Somebody who is not active has no password that is right.
    let stored = found.as_ref().filter(|found| found.user.is_active).map(|found| found.password_hash.clone());
    let address = actor.origin.ip_address;
    match (prove(tools, account, address, password.clone(), stored).await?, found) {
        (Proof::Right { needs_rehash }, Some(mut found)) => {
            if needs_rehash {
                found = rehash(tools, found, password).await?;
            }
            let open = OpenSession {
                user: found.user.id,
                auth_version: found.auth_version,
                verified: found.password_hash,
                origin: actor.origin,
            };
            accounts.sessions.ask(open).await
        }
        (Proof::Right { .. }, None) => Err(Error::internal("nobody's password was right")),
        (Proof::Wrong { locks }, found) => {
            let act = refused(&login, found.map(|found| found.user.id), locks);
            db::audit::append(&mut *tools.pool.get().await?, &actor, act).await?;
            Err(Error::InvalidCredentials)
        }
    }
}

/// What was typed as a name is not written down: people type their password there. A few bits of a hash of it show
/// that many tries were for one name, and fit too many texts to tell which.
fn refused(login: &Login, user: Option<UserId>, locks: bool) -> Act {
    let digest = Sha256::digest(login.canonical());
    let few: String = digest.iter().take(3).map(|byte| format!("{byte:02x}")).collect();
    Act::refused("session.open", user.map(Target::from)).with("login_hash", few).with("locked", locks)
}

/// Keeps the password under a hash of the present cost, and returns the account as it is then: another log-in may have
/// been faster. That hashing did not work is no reason to refuse a log-in.
async fn rehash(tools: &Tools, account: Account, password: PresentedPassword) -> Result<Account> {
    let id = account.user.id;
    let new = match tools.hashers.rehash(password).await {
        Ok(new) => new,
        Err(error) => {
            log::warn!(user_id:% = id, error:% = error; "a password was not hashed anew");
            return Ok(account);
        }
    };
    let mut connection = tools.pool.get().await?;
    db::users::rehash(&mut connection, id, &account.password_hash, &new).await?;
    let now = db::users::account(&mut connection, id).await.map_err(gone)?;
    // Another password moves it on.
    if now.auth_version == account.auth_version { Ok(now) } else { Err(Error::InvalidCredentials) }
}

/// A user who was deleted while he logged in has never been there.
fn gone(error: Error) -> Error {
    if matches!(error, Error::NotFound) { Error::InvalidCredentials } else { error }
}
