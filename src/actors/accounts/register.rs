//! Registration: anybody makes himself an account.

use actix::Message;

use super::{Accounts, Tools};
use crate::{
    actors::hashers::Share,
    config::Registration,
    db::{self, Connection, Transactional as _},
    domain::{
        Conflict, Error, Result, User,
        account::{Draft, NewAccount},
        audit::{Act, Actor},
        letter::Letter,
    },
    tasks::letter,
};

/// Makes an account for whoever asks.
///
/// [`Error::RegistrationClosed`]; [`Error::Invalid`] with every bad field; [`Conflict::AccountExists`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<User>")]
pub struct Register {
    /// What he typed.
    pub draft: Draft,
    /// Who he is: nobody yet.
    pub actor: Actor,
}

pub(super) async fn answer(accounts: Accounts, message: Register) -> Result<User> {
    register(&accounts.tools, message).await
}

async fn register(tools: &Tools, Register { draft, actor }: Register) -> Result<User> {
    if tools.registration == Registration::Closed {
        return Err(Error::RegistrationClosed);
    }
    let checked = draft.check(&tools.policy).map_err(Error::Invalid)?;
    if checked.username.is_reserved() {
        return Err(Error::invalid("/username", "reserved_username", "kept for the operator of the service"));
    }
    // What the answer will tell anyway need not cost a hash. The index decides, below.
    let mut connection = tools.pool.get().await?;
    if db::users::is_taken(&mut connection, &checked.username, &checked.email).await? {
        return Err(Error::Conflict(Conflict::AccountExists));
    }
    drop(connection);
    let new = NewAccount {
        username: checked.username,
        email: checked.email,
        password_hash: tools.hashers.hash(checked.password, Share::Registration).await?,
        role: checked.role,
        is_active: true,
        email_verified: false,
    };
    insert(&mut *tools.pool.get().await?, &actor, "user.register", &new).await
}

/// Adds a user, the entry in the log, and the letter that asks to verify his address, or nothing of it.
pub(super) async fn insert(
    connection: &mut Connection,
    actor: &Actor,
    action: &'static str,
    new: &NewAccount,
) -> Result<User> {
    connection
        .transaction(async |connection| {
            let user = db::users::insert(connection, new).await?;
            let act = Act::done(action, user.id).with("role", user.role.as_str());
            db::audit::append(connection, actor, act).await?;
            if user.is_active && !user.email_verified {
                post(connection, actor, &Letter::VerifyEmail(user.id)).await?;
            }
            Ok(user)
        })
        .await
}

/// Orders a letter, in the transaction that gives the reason for it.
pub(super) async fn post(connection: &mut Connection, actor: &Actor, letter: &Letter) -> Result<()> {
    let task = letter::order(letter, actor.origin.request_id.as_deref())?;
    db::tasks::insert(connection, vec![task]).await?;
    Ok(())
}
