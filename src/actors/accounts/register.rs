//! Registration: anybody makes himself an account.

use std::time::Duration;

use actix::Message;

use super::{Accounts, Tools};
use crate::{
    actors::hashers::Share,
    config::Registration,
    db::{self, Connection, Transactional as _},
    domain::{
        Conflict, Error, Result, User, UserId,
        account::{Draft, NewAccount},
        audit::{Act, Actor},
        letter::Letter,
        throttle::{Bucket, Limit, Reserved},
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
    insert(&mut *tools.pool.get().await?, &actor, "user.register", &new, Cause::Anybody).await
}

/// Adds a user, the entry in the log, and the letter that asks to verify his address, or nothing of it.
pub(super) async fn insert(
    connection: &mut Connection,
    actor: &Actor,
    action: &'static str,
    new: &NewAccount,
    cause: Cause,
) -> Result<User> {
    connection
        .transaction(async |connection| {
            let user = db::users::insert(connection, new).await?;
            let act = Act::done(action, user.id).with("role", user.role.as_str());
            db::audit::append(connection, actor, act).await?;
            if user.is_active && !user.email_verified {
                ask_to_verify(connection, actor, &user, cause).await?;
            }
            Ok(user)
        })
        .await
}

/// Who gives the reason for a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Somebody who could be anybody: such letters are limited.
    Anybody,
    /// An administrator, over HTTP or by the command-line tool.
    Administrator,
}

/// Orders the letter that asks to verify the address that the user has now.
pub(super) async fn ask_to_verify(
    connection: &mut Connection,
    actor: &Actor,
    user: &User,
    cause: Cause,
) -> Result<()> {
    let letter = Letter::VerifyEmail(user.id);
    match cause {
        Cause::Administrator => post(connection, actor, &letter).await,
        Cause::Anybody => {
            let reader = Reader { user: Some(user.id), address: user.email.canonical() };
            post_limited(connection, actor, reader, &letter).await
        }
    }
}

/// Letters that anybody can cause, of all kinds together: to one address, and of one user.
const LETTERS: Limit =
    Limit { tries: 5, window: Duration::from_secs(3600), block: Duration::from_secs(3600) };

/// Who is written to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    /// The user, where that is known without looking.
    pub(super) user: Option<UserId>,
    /// The address in canonical form.
    pub(super) address: &'a str,
}

/// Orders a letter that anybody can cause, unless there were too many lately: then nothing is sent, and nobody learns it.
pub(super) async fn post_limited(
    connection: &mut Connection,
    actor: &Actor,
    reader: Reader<'_>,
    letter: &Letter,
) -> Result<()> {
    // The user first: whoever wrote to too many addresses uses nothing up of the next one.
    let buckets = reader.user.map(Bucket::mails_of).into_iter().chain([Bucket::mails_to(reader.address)]);
    for bucket in buckets {
        let reserved = db::throttle::reserve(connection, &bucket, &bucket, LETTERS).await?;
        if matches!(reserved, Reserved::Refused { .. }) {
            return Ok(());
        }
    }
    post(connection, actor, letter).await
}

/// Orders a letter, in the transaction that gives the reason for it.
pub(super) async fn post(connection: &mut Connection, actor: &Actor, letter: &Letter) -> Result<()> {
    let task = letter::order(letter, actor.origin.request_id.as_deref())?;
    db::tasks::insert(connection, vec![task]).await?;
    Ok(())
}
