//! Writing the service's letters, when they are sent.

use futures_util::future::BoxFuture;

use crate::{
    db::{self, Pool, Transactional as _},
    domain::{
        Email, Error, Login, Result, User, UserId,
        letter::{Letter, Mail, Purpose},
        token::OneTimeToken,
    },
    tasks::services::{LetterWriter, UserDirectory},
};

/// Writes letters to users, and knows them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Secretary {
    pool: Pool,
    base: String,
}

impl Secretary {
    /// `public_url` is where people reach the service, for links.
    pub fn new(pool: Pool, public_url: &str) -> Self {
        Self { pool, base: public_url.trim_end_matches('/').to_owned() }
    }

    async fn letter(&self, letter: Letter) -> Result<Option<Mail>> {
        Ok(match letter {
            Letter::VerifyEmail(user) => {
                let user = self.reader(user).await?.filter(|user| !user.email_verified);
                self.with_token(Purpose::VerifyEmail, user).await?
            }
            Letter::ResetPassword(address) => {
                let login = Login::Email(address);
                let account = db::users::by_login(&mut *self.pool.get().await?, &login).await?;
                let user = account.map(|account| account.user).filter(|user| user.is_active);
                self.with_token(Purpose::ResetPassword, user).await?
            }
            Letter::PasswordChanged(user) => {
                self.reader(user).await?.map(|user| Mail::password_changed(&user))
            }
            Letter::EmailChanged(user, former) => self.told_of_change(user, &former).await?,
        })
    }

    /// The user, if he is still there and may do anything.
    async fn reader(&self, id: UserId) -> Result<Option<User>> {
        Ok(self.user(id).await?.filter(|user| user.is_active))
    }

    async fn user(&self, id: UserId) -> Result<Option<User>> {
        match db::users::find(&mut *self.pool.get().await?, id).await {
            Ok(user) => Ok(Some(user)),
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the token, for the address that the user has now. The one that was mailed before is void: so the last mail to
    /// arrive is the one that works, also when a mail was sent, and the task that sent it died before it said so.
    async fn with_token(&self, purpose: Purpose, user: Option<User>) -> Result<Option<Mail>> {
        let Some(user) = user else { return Ok(None) };
        let token = OneTimeToken::generate();
        let hash = token.hash();
        let mut connection = self.pool.get().await?;
        let user = connection
            .transaction(async |connection| {
                // Whoever changes the address voids its tokens, before this or after.
                let user = db::users::lock(connection, user.id).await?.user;
                let lifetime = purpose.lifetime();
                db::one_time_tokens::put(connection, user.id, purpose, &hash, &user.email, lifetime).await?;
                Ok(user)
            })
            .await;
        match user {
            Ok(user) => Ok(Some(Mail::with_token(purpose, &token, &self.base, &user))),
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn told_of_change(&self, user: UserId, former: &Email) -> Result<Option<Mail>> {
        Ok(self.user(user).await?.map(|user| Mail::email_changed(&user, former)))
    }
}

impl LetterWriter for Secretary {
    fn write(&self, letter: Letter) -> BoxFuture<'_, Result<Option<Mail>>> {
        Box::pin(self.letter(letter))
    }
}

impl UserDirectory for Secretary {
    fn find(&self, id: UserId) -> BoxFuture<'_, Result<Option<User>>> {
        Box::pin(self.user(id))
    }

    fn page(&self, after: Option<UserId>, at_most: u32) -> BoxFuture<'_, Result<Vec<User>>> {
        Box::pin(
            async move { db::users::in_order(&mut *self.pool.get().await?, after, i64::from(at_most)).await },
        )
    }
}
