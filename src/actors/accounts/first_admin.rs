//! The first admin: somebody must be able to let the others in.

use secrecy::SecretString;

use super::{
    NewUser, Tools,
    register::{Cause, insert},
    users::hashed,
};
use crate::{
    config::InitialAdmin,
    db::{self, Transactional as _},
    domain::{Result, Role, User, account::Draft, audit::Actor},
};

/// The admin that was made, to be told to whoever started the program.
#[derive(Debug, Clone)]
pub struct FirstAdmin {
    /// Who.
    pub user: User,
    /// His password, if it was made here; it is known nowhere else.
    pub password: Option<SecretString>,
}

/// Name of the admin that is made when none is configured.
const USERNAME: &str = "admin";
/// His address. Nobody reads mail there: an admin gives him another.
const EMAIL: &str = "admin@localhost";
/// Letters and digits that are not taken for each other: 31, so that 24 of them have 118 bits.
const ALPHABET: &[u8; 31] = b"23456789abcdefghjkmnpqrstuvwxyz";
const PASSWORD_CHARS: usize = 24;

/// Makes an admin if there is none, active or not: the configured one, or, if `generate`, one with a password of its own.
/// Of several processes that start at once, one makes him.
///
/// # Errors
/// [`crate::domain::Error::Invalid`] if the configured values break a rule; [`crate::domain::Conflict::AccountExists`] if somebody
/// else has the name or the address; as the database tells.
pub async fn ensure_first_admin(
    tools: &Tools,
    configured: &InitialAdmin,
    generate: bool,
) -> Result<Option<FirstAdmin>> {
    let (draft, password) = match configured.get() {
        Some((username, email, password)) => (draft(username, email, password.clone()), None),
        None if generate => {
            let password = new_password();
            (draft(USERNAME, EMAIL, password.clone()), Some(password))
        }
        None => return Ok(None),
    };
    let mut connection = tools.pool.get().await?;
    if db::users::has_admin(&mut connection).await? {
        return Ok(None);
    }
    drop(connection);
    let new = NewUser { draft, is_active: true, email_verified: true };
    let account = hashed(tools, new).await?;
    let mut connection = tools.pool.get().await?;
    let user = connection
        .transaction(async |connection| {
            db::users::lock_first_admin(connection).await?;
            if db::users::has_admin(connection).await? {
                return Ok(None);
            }
            insert(connection, &Actor::system(), "user.create", &account, Cause::Administrator)
                .await
                .map(Some)
        })
        .await?;
    Ok(user.map(|user| FirstAdmin { user, password }))
}

/// Whether there is an admin, active or not.
///
/// # Errors
/// `Unavailable` without the database.
pub async fn has_admin(tools: &Tools) -> Result<bool> {
    db::users::has_admin(&mut *tools.pool.get().await?).await
}

fn draft(username: &str, email: &str, password: SecretString) -> Draft {
    let role = Some(Role::Admin.as_str().to_owned());
    Draft { username: username.to_owned(), email: email.to_owned(), password, role }
}

/// Four groups of six, easy to read out.
fn new_password() -> SecretString {
    let mut password = String::with_capacity(PASSWORD_CHARS + 3);
    for n in 0..PASSWORD_CHARS {
        if n > 0 && n % 6 == 0 {
            password.push('-');
        }
        let at = rand::random_range(0..ALPHABET.len());
        password.extend(ALPHABET.get(at).copied().map(char::from));
    }
    password.into()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::domain::PasswordPolicy;

    #[test]
    fn a_made_password_is_one_that_the_policy_takes_and_never_the_same() {
        let one = new_password();
        assert_eq!(one.expose_secret().len(), PASSWORD_CHARS + 3);
        assert_ne!(one.expose_secret(), new_password().expose_secret());
        let draft = draft(USERNAME, EMAIL, one);
        assert!(draft.check(&PasswordPolicy::new(12)).is_ok());
    }
}
