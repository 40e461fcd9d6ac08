//! What admins do with users. The command-line tool calls the same functions.

use actix::Message;

use super::{
    Accounts, Tools, password,
    register::{Cause, ask_to_verify, insert, post},
};
use crate::{
    actors::hashers::Share,
    db::{self, Connection, Transactional as _},
    domain::{
        Conflict, Cursor, Error, Forget, Limit, Result, Role, User, UserId,
        account::{Account, Changes, Draft, NewAccount, UserFilter},
        audit::{Act, Actor, Entry, Filter},
        letter::Letter,
    },
};

/// Users, newest first, behind `after`: up to [`Limit::fetch`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Vec<User>>")]
pub struct ListUsers {
    /// Which.
    pub filter: UserFilter,
    /// Where the last page ended.
    pub after: Option<Cursor>,
    /// How many.
    pub limit: Limit,
}

pub(super) async fn list(accounts: Accounts, message: ListUsers) -> Result<Vec<User>> {
    let mut connection = accounts.tools.pool.get().await?;
    db::users::page(&mut connection, &message.filter, message.after, message.limit).await
}

/// One user. [`Error::NotFound`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<User>")]
pub struct FindUser(pub UserId);

pub(super) async fn find(accounts: Accounts, FindUser(id): FindUser) -> Result<User> {
    db::users::find(&mut *accounts.tools.pool.get().await?, id).await
}

/// Entries of the audit log, newest first, behind `after`: up to [`Limit::fetch`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Vec<Entry>>")]
pub struct ListAudit {
    /// Which.
    pub filter: Filter,
    /// Where the last page ended.
    pub after: Option<Cursor>,
    /// How many.
    pub limit: Limit,
}

pub(super) async fn audit(accounts: Accounts, message: ListAudit) -> Result<Vec<Entry>> {
    let mut connection = accounts.tools.pool.get().await?;
    db::audit::page(&mut connection, &message.filter, message.after, message.limit).await
}

/// A user whom an admin makes.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// What the admin typed. Reserved names are his to give.
    pub draft: Draft,
    /// Whether he can do anything at all.
    pub is_active: bool,
    /// Whether the admin knows that he reads mail at his address.
    pub email_verified: bool,
}

/// Makes a user. [`Error::Invalid`] with every bad field; [`Conflict::AccountExists`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<User>")]
pub struct CreateUser {
    /// Whom.
    pub new: NewUser,
    /// Who does it.
    pub actor: Actor,
}

pub(super) async fn answer_create(accounts: Accounts, message: CreateUser) -> Result<User> {
    create(&accounts.tools, &message.actor, message.new).await
}

/// As [`CreateUser`].
///
/// # Errors
/// As [`CreateUser`].
pub async fn create(tools: &Tools, actor: &Actor, new: NewUser) -> Result<User> {
    let account = hashed(tools, new).await?;
    insert(&mut *tools.pool.get().await?, actor, "user.create", &account, Cause::Administrator).await
}

/// The user to be, with his password hashed.
pub(super) async fn hashed(tools: &Tools, new: NewUser) -> Result<NewAccount> {
    let checked = new.draft.check(&tools.policy).map_err(Error::Invalid)?;
    Ok(NewAccount {
        username: checked.username,
        email: checked.email,
        password_hash: tools.hashers.hash(checked.password, Share::Accounts).await?,
        role: checked.role,
        is_active: new.is_active,
        email_verified: new.email_verified,
    })
}

/// Changes a user. [`Error::NotFound`]; [`Conflict::AccountExists`]; [`Conflict::LastAdmin`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<User>")]
pub struct ChangeUser {
    /// Whom.
    pub id: UserId,
    /// How.
    pub changes: Changes,
    /// Who does it.
    pub actor: Actor,
}

pub(super) async fn answer_change(accounts: Accounts, message: ChangeUser) -> Result<User> {
    let ChangeUser { id, changes, actor } = message;
    let user = change(&mut *accounts.tools.pool.get().await?, &actor, id, changes).await?;
    accounts.revoker.revoked(Forget::User(user.id)).await;
    Ok(user)
}

/// As [`ChangeUser`].
///
/// # Errors
/// As [`ChangeUser`].
pub async fn change(
    connection: &mut Connection,
    actor: &Actor,
    id: UserId,
    changes: Changes,
) -> Result<User> {
    connection
        .transaction(async |connection| {
            let was = if changes.may_take_admin_away() {
                lock_but_last_admin(connection, id).await?
            } else {
                db::users::lock(connection, id).await?
            };
            apply(connection, actor, &was.user, changes.against(&was.user)).await
        })
        .await
}

/// Locks the user whose rights as an admin are about to be taken away.
async fn lock_but_last_admin(connection: &mut Connection, id: UserId) -> Result<Account> {
    let (account, others) = db::users::lock_with_admins(connection, id).await?;
    let is_active_admin = account.user.role == Role::Admin && account.user.is_active;
    if is_active_admin && !others { Err(Error::Conflict(Conflict::LastAdmin)) } else { Ok(account) }
}

async fn apply(connection: &mut Connection, actor: &Actor, was: &User, changes: Changes) -> Result<User> {
    let names = changes.names();
    if names.is_empty() {
        return Ok(was.clone());
    }
    let user = db::users::update(connection, was.id, &changes).await?;
    if changes.is_active == Some(false) {
        // Coming back must not bring them back.
        db::sessions::close_all(connection, user.id, None).await?;
    }
    if changes.is_active == Some(false) || user.email != was.email {
        db::one_time_tokens::void(connection, user.id).await?;
    }
    if user.email != was.email {
        announce(connection, actor, was, &user).await?;
    }
    let mut act = Act::done("user.update", user.id).with("changed", names);
    if let Some(role) = changes.role {
        act = act.with("role", role.as_str());
    }
    if let Some(is_active) = changes.is_active {
        act = act.with("is_active", is_active);
    }
    db::audit::append(connection, actor, act).await?;
    db::users::find(connection, user.id).await
}

/// Writes to both addresses.
async fn announce(connection: &mut Connection, actor: &Actor, was: &User, user: &User) -> Result<()> {
    if !user.email_verified && user.is_active {
        let own = actor.user == Some(user.id);
        let cause = if own { Cause::Anybody } else { Cause::Administrator };
        ask_to_verify(connection, actor, user, cause).await?;
    }
    if was.email_verified {
        post(connection, actor, &Letter::EmailChanged(user.id, was.email.clone())).await?;
    }
    Ok(())
}

/// Deletes a user with their sessions, keys and tokens. Their unfinished tasks are cancelled, and all of them disowned, by
/// maintenance. [`Error::NotFound`]; [`Conflict::LastAdmin`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<()>")]
pub struct DeleteUser {
    /// Whom.
    pub id: UserId,
    /// Who does it.
    pub actor: Actor,
}

pub(super) async fn answer_delete(accounts: Accounts, message: DeleteUser) -> Result<()> {
    delete(&mut *accounts.tools.pool.get().await?, &message.actor, message.id).await?;
    accounts.revoker.revoked(Forget::User(message.id)).await;
    Ok(())
}

/// As [`DeleteUser`].
///
/// # Errors
/// As [`DeleteUser`].
pub async fn delete(connection: &mut Connection, actor: &Actor, id: UserId) -> Result<()> {
    connection
        .transaction(async |connection| {
            let was = lock_but_last_admin(connection, id).await?.user;
            db::users::delete(connection, id).await?;
            let act = Act::done("user.delete", id).with("role", was.role.as_str());
            db::audit::append(connection, actor, act).await
        })
        .await
}

/// Sets a password for somebody who cannot: only the command-line tool does this. Every session of the user ends.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Invalid`] at `/password`.
pub async fn set_password(
    tools: &Tools,
    actor: &Actor,
    id: UserId,
    new: &secrecy::SecretString,
) -> Result<()> {
    let user = db::users::find(&mut *tools.pool.get().await?, id).await?;
    let new = tools.policy.check("/password", new, &user.username, &user.email);
    let new = new.map_err(|violation| Error::Invalid(vec![violation]))?;
    let hash = tools.hashers.hash(new, Share::Accounts).await?;
    tools
        .pool
        .get()
        .await?
        .transaction(async |connection| {
            db::users::lock(connection, id).await?;
            password::set(connection, id, &hash, None).await?;
            db::audit::append(connection, actor, Act::done("user.password.set", id)).await?;
            post(connection, actor, &Letter::PasswordChanged(id)).await
        })
        .await
}
