//! Proving an address.

use std::sync::Arc;

use actix::Message;

use super::{
    Accounts,
    register::Reader,
    reset::{gone, order},
};
use crate::{
    db::{self, Transactional as _},
    domain::{
        Caller, Error, Forget, Result, UserId,
        account::Changes,
        audit::{Act, Actor},
        letter::{Letter, Purpose},
        throttle::Bucket,
        token::OneTimeToken,
    },
};

/// Proves an address by a token that was mailed to it. [`Error::InvalidToken`] whatever is wrong.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<()>")]
pub struct VerifyEmail {
    /// As it came; `None` if it cannot be one.
    pub token: Option<OneTimeToken>,
    /// Who asks: nobody yet.
    pub actor: Actor,
}

pub(super) async fn redeem(accounts: Accounts, message: VerifyEmail) -> Result<()> {
    let token = message.token.ok_or(Error::InvalidToken)?.hash();
    let actor = &message.actor;
    let mut connection = accounts.tools.pool.get().await?;
    let holder = db::one_time_tokens::holder(&mut connection, Purpose::VerifyEmail, &token).await?;
    let user = holder.ok_or(Error::InvalidToken)?;
    connection
        .transaction(async |connection| {
            db::users::lock(connection, user).await.map_err(gone)?;
            if !db::one_time_tokens::redeem(connection, Purpose::VerifyEmail, &token).await? {
                return Err(Error::InvalidToken);
            }
            let verified = Changes { email_verified: Some(true), ..Changes::default() };
            db::users::update(connection, user, &verified).await?;
            db::audit::append(connection, actor, Act::done("user.email.verify", user)).await
        })
        .await?;
    drop(connection);
    // No right is taken away, but what is remembered of him is not true any more.
    accounts.revoker.revoked(Forget::User(user)).await;
    Ok(())
}

/// Mails a link that proves the address once more, unless it is proved, or too many were mailed lately.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<()>")]
pub struct ResendVerification {
    /// Whose.
    pub by: Arc<Caller>,
    /// Who, for the log.
    pub actor: Actor,
}

pub(super) async fn resend(accounts: Accounts, message: ResendVerification) -> Result<()> {
    let user = &message.by.user;
    if user.email_verified {
        return Ok(());
    }
    let bucket = bucket(user.id);
    let reader = Reader { user: Some(user.id), address: user.email.canonical() };
    order(&accounts.tools, &message.actor, &bucket, reader, &Letter::VerifyEmail(user.id)).await
}

/// Counts these letters by user: he may change his address, to any number of others' addresses.
pub(super) fn bucket(user: UserId) -> Bucket {
    Bucket::mails(Purpose::VerifyEmail.as_str(), &user.to_string())
}
