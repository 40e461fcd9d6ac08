//! Another password, by somebody who reads the account's mail.

use std::time::Duration;

use actix::Message;
use secrecy::SecretString;

use super::{
    Accounts, Tools, password,
    register::{Reader, post, post_limited},
};
use crate::{
    actors::hashers::Share,
    db::{self, Connection, Transactional as _},
    domain::{
        Email, Error, Forget, NewPassword, Result, User, UserId,
        account::Changes,
        audit::{Act, Actor},
        letter::{Letter, Purpose},
        throttle::{Account, Bucket, Limit, Reserved},
        token::{OneTimeToken, TokenHash},
    },
};

/// Letters with tokens of one kind to one address.
const LETTERS: Limit =
    Limit { tries: 3, window: Duration::from_secs(3600), block: Duration::from_secs(3600) };

/// Mails a link that sets a password to whoever has the address, if anybody. Takes the same way whether somebody has
/// it or not: only the task that sends the mail looks.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<()>")]
pub struct RequestReset {
    /// The address.
    pub email: Email,
    /// Who asks: nobody yet.
    pub actor: Actor,
}

pub(super) async fn request(accounts: Accounts, message: RequestReset) -> Result<()> {
    let RequestReset { email, actor } = message;
    let address = email.canonical().to_owned();
    let bucket = Bucket::mails(Purpose::ResetPassword.as_str(), &address);
    let reader = Reader { user: None, address: &address };
    order(&accounts.tools, &actor, &bucket, reader, &Letter::ResetPassword(address.clone())).await
}

/// Orders a letter, unless there were too many to this address lately; nobody is told which.
pub(super) async fn order(
    tools: &Tools,
    actor: &Actor,
    bucket: &Bucket,
    reader: Reader<'_>,
    letter: &Letter,
) -> Result<()> {
    tools
        .pool
        .get()
        .await?
        .transaction(async |connection| {
            match db::throttle::reserve(connection, bucket, bucket, LETTERS).await? {
                Reserved::Granted { .. } => post_limited(connection, actor, reader, letter).await,
                Reserved::Refused { .. } => Ok(()),
            }
        })
        .await
}

/// Sets a password by a token that was mailed. Every session of the user ends.
///
/// [`Error::InvalidToken`] whatever is wrong with the token; [`Error::Invalid`] at `/new_password`, which does not use it
/// up.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<()>")]
pub struct ResetPassword {
    /// As it came; `None` if it cannot be one.
    pub token: Option<OneTimeToken>,
    /// The password that he wants.
    pub new: SecretString,
    /// Who asks: nobody yet.
    pub actor: Actor,
}

pub(super) async fn redeem(accounts: Accounts, message: ResetPassword) -> Result<()> {
    let ResetPassword { token, new, actor } = message;
    let tools = &accounts.tools;
    let token = token.ok_or(Error::InvalidToken)?.hash();
    let user = holder(tools, &token).await?;
    let new = tools.policy.check("/new_password", &new, &user.username, &user.email);
    let new = new.map_err(|violation| Error::Invalid(vec![violation]))?;
    replace(tools, &actor, &user, &token, new).await?;
    accounts.revoker.revoked(Forget::User(user.id)).await;
    Ok(())
}

/// Who may redeem the token, before anything is spent on it.
async fn holder(tools: &Tools, token: &TokenHash) -> Result<User> {
    let mut connection = tools.pool.get().await?;
    let id = db::one_time_tokens::holder(&mut connection, Purpose::ResetPassword, token).await?;
    db::users::find(&mut connection, id.ok_or(Error::InvalidToken)?).await.map_err(gone)
}

/// A user who was deleted meanwhile has no tokens.
pub(super) fn gone(error: Error) -> Error {
    if matches!(error, Error::NotFound) { Error::InvalidToken } else { error }
}

async fn replace(
    tools: &Tools,
    actor: &Actor,
    user: &User,
    token: &TokenHash,
    new: NewPassword,
) -> Result<()> {
    let hash = tools.hashers.hash(new, Share::Accounts).await?;
    tools
        .pool
        .get()
        .await?
        .transaction(async |connection| {
            let was = db::users::lock(connection, user.id).await.map_err(gone)?.user;
            if !db::one_time_tokens::redeem(connection, Purpose::ResetPassword, token).await? {
                return Err(Error::InvalidToken);
            }
            password::set(connection, was.id, &hash, None).await?;
            if !was.email_verified {
                claim(connection, was.id).await?;
            }
            let act = Act::done("user.password.reset", was.id).with("claimed", !was.email_verified);
            db::audit::append(connection, actor, act).await?;
            let_in(connection, actor, was.id).await?;
            post(connection, actor, &Letter::PasswordChanged(was.id)).await
        })
        .await
}

/// Whoever made the account never proved its address, and now somebody else may have: nothing that the former made is
/// left, so that he cannot have prepared the account for the owner of the address to walk into.
async fn claim(connection: &mut Connection, user: UserId) -> Result<()> {
    let verified = Changes { email_verified: Some(true), ..Changes::default() };
    db::users::update(connection, user, &verified).await?;
    db::users::revoke_api_keys(connection, user).await
}

/// Strangers may have locked the account, or be about to; the owner comes in from where he is.
async fn let_in(connection: &mut Connection, actor: &Actor, user: UserId) -> Result<()> {
    let account = Account::Of(user);
    db::throttle::welcome(connection, &Bucket::known(account, actor.origin.ip_address)).await?;
    db::throttle::forget(connection, &Bucket::strangers(account)).await
}
