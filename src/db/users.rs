//! Users and their credentials.

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::{
    escape_like,
    schema::{
        api_keys,
        users::{self, dsl},
    },
    user_row::{self, UserRow},
};
use crate::domain::{
    Cursor, Email, Error, Limit, Login, Result, Role, User, UserId, Username,
    account::{Account, Changes, NewAccount, UserFilter},
    password::PasswordHash,
};

type UserColumns = (
    dsl::id,
    dsl::username,
    dsl::username_canon,
    dsl::email,
    dsl::email_canon,
    dsl::role,
    dsl::is_active,
    dsl::email_verified,
    dsl::created_at,
    dsl::updated_at,
    dsl::last_login_at,
);
/// As in `user_columns!`.
const USER: UserColumns = (
    dsl::id,
    dsl::username,
    dsl::username_canon,
    dsl::email,
    dsl::email_canon,
    dsl::role,
    dsl::is_active,
    dsl::email_verified,
    dsl::created_at,
    dsl::updated_at,
    dsl::last_login_at,
);
const ACCOUNT: (UserColumns, dsl::password_hash, dsl::auth_version) =
    (USER, dsl::password_hash, dsl::auth_version);

type AccountRow = (UserRow, String, i64);

#[derive(Insertable)]
#[diesel(table_name = users)]
struct NewRow<'a> {
    id: Uuid,
    username: &'a str,
    username_canon: &'a str,
    email: &'a str,
    email_canon: &'a str,
    password_hash: &'a str,
    role: &'static str,
    is_active: bool,
    email_verified: bool,
}

#[derive(AsChangeset)]
#[diesel(table_name = users)]
struct ChangedRow<'a> {
    username: Option<&'a str>,
    username_canon: Option<&'a str>,
    email: Option<&'a str>,
    email_canon: Option<&'a str>,
    role: Option<&'static str>,
    is_active: Option<bool>,
    email_verified: Option<bool>,
}

/// Adds a user.
///
/// # Errors
/// [`crate::domain::Conflict::AccountExists`] when the name or the address is taken; the transaction is lost then.
pub async fn insert(connection: &mut AsyncPgConnection, new: &NewAccount) -> Result<User> {
    let row = NewRow {
        id: UserId::new().0,
        username: new.username.as_str(),
        username_canon: new.username.canonical(),
        email: new.email.as_str(),
        email_canon: new.email.canonical(),
        password_hash: new.password_hash.expose(),
        role: new.role.as_str(),
        is_active: new.is_active,
        email_verified: new.email_verified,
    };
    let row = diesel::insert_into(dsl::users).values(row).returning(USER);
    user_row::user(row.get_result(connection).await?)
}

/// Whether the name or the address is taken.
///
/// # Errors
/// As the database tells.
pub async fn is_taken(
    connection: &mut AsyncPgConnection,
    username: &Username,
    email: &Email,
) -> Result<bool> {
    let taken = dsl::users
        .filter(dsl::username_canon.eq(username.canonical()).or(dsl::email_canon.eq(email.canonical())));
    Ok(diesel::select(diesel::dsl::exists(taken)).get_result(connection).await?)
}

/// The user of this id.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn find(connection: &mut AsyncPgConnection, id: UserId) -> Result<User> {
    user_row::user(dsl::users.filter(dsl::id.eq(id.0)).select(USER).first(connection).await?)
}

/// The account that somebody wants to log in to.
///
/// # Errors
/// As the database tells.
pub async fn by_login(connection: &mut AsyncPgConnection, login: &Login) -> Result<Option<Account>> {
    let row: Option<AccountRow> = match login {
        Login::Username(name) => {
            let named = dsl::users.filter(dsl::username_canon.eq(name)).select(ACCOUNT);
            named.first(connection).await.optional()?
        }
        Login::Email(address) => {
            let named = dsl::users.filter(dsl::email_canon.eq(address)).select(ACCOUNT);
            named.first(connection).await.optional()?
        }
        Login::Nobody(_) => None,
    };
    row.map(account_of).transpose()
}

/// The account, not locked.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn account(connection: &mut AsyncPgConnection, id: UserId) -> Result<Account> {
    account_of(dsl::users.filter(dsl::id.eq(id.0)).select(ACCOUNT).first(connection).await?)
}

/// The account, locked to the end of the transaction.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn lock(connection: &mut AsyncPgConnection, id: UserId) -> Result<Account> {
    let locked = dsl::users.filter(dsl::id.eq(id.0)).select(ACCOUNT).for_update();
    account_of(locked.first(connection).await?)
}

/// The account, and whether there is an active admin besides it; it and all active admins are locked to the end of the
/// transaction. Whoever may be about to take an admin away asks this, and locks nobody before: so no two of them can each
/// count on the admin whom the other takes. In the order of ids, as everyone who locks several users.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn lock_with_admins(connection: &mut AsyncPgConnection, id: UserId) -> Result<(Account, bool)> {
    let active_admin = dsl::role.eq(Role::Admin.as_str()).and(dsl::is_active);
    let rows: Vec<AccountRow> = dsl::users
        .filter(dsl::id.eq(id.0).or(active_admin))
        .select(ACCOUNT)
        .order(dsl::id)
        .for_update()
        .load(connection)
        .await?;
    let mut accounts = rows.into_iter().map(account_of).collect::<Result<Vec<_>>>()?;
    let at = accounts.iter().position(|account| account.user.id == id).ok_or(Error::NotFound)?;
    let account = accounts.swap_remove(at);
    // The rows left are all active admins.
    Ok((account, !accounts.is_empty()))
}

/// Whether there is any admin, active or not.
///
/// # Errors
/// As the database tells.
pub async fn has_admin(connection: &mut AsyncPgConnection) -> Result<bool> {
    let admins = dsl::users.filter(dsl::role.eq(Role::Admin.as_str()));
    Ok(diesel::select(diesel::dsl::exists(admins)).get_result(connection).await?)
}

/// Lets only one process at a time make the first admin, to the end of the transaction.
///
/// # Errors
/// As the database tells.
pub async fn lock_first_admin(connection: &mut AsyncPgConnection) -> Result<()> {
    diesel::sql_query("select pg_advisory_xact_lock(hashtext('starter.first_admin'))")
        .execute(connection)
        .await?;
    Ok(())
}

/// Changes a user.
///
/// # Errors
/// [`Error::NotFound`]; [`crate::domain::Conflict::AccountExists`].
pub async fn update(connection: &mut AsyncPgConnection, id: UserId, changes: &Changes) -> Result<User> {
    if *changes == Changes::default() {
        return find(connection, id).await;
    }
    let row = ChangedRow {
        username: changes.username.as_ref().map(Username::as_str),
        username_canon: changes.username.as_ref().map(Username::canonical),
        email: changes.email.as_ref().map(Email::as_str),
        email_canon: changes.email.as_ref().map(Email::canonical),
        role: changes.role.map(Role::as_str),
        is_active: changes.is_active,
        email_verified: changes.email_verified,
    };
    let changed = diesel::update(dsl::users.filter(dsl::id.eq(id.0))).set(row);
    user_row::user(changed.returning(USER).get_result(connection).await?)
}

/// Sets another password. Sessions are another matter: [`super::sessions::close_all`].
///
/// # Errors
/// As the database tells.
pub async fn set_password(connection: &mut AsyncPgConnection, id: UserId, hash: &PasswordHash) -> Result<()> {
    let user = diesel::update(dsl::users.filter(dsl::id.eq(id.0)));
    user.set(dsl::password_hash.eq(hash.expose())).execute(connection).await?;
    Ok(())
}

/// Keeps the same password under a newer hash, unless it was changed meanwhile. Sessions live on.
///
/// # Errors
/// As the database tells.
pub async fn rehash(
    connection: &mut AsyncPgConnection,
    id: UserId,
    old: &PasswordHash,
    new: &PasswordHash,
) -> Result<bool> {
    let same = dsl::users.filter(dsl::id.eq(id.0).and(dsl::password_hash.eq(old.expose())));
    let changed = diesel::update(same).set(dsl::password_hash.eq(new.expose())).execute(connection).await?;
    Ok(changed > 0)
}

/// Deletes a user, his sessions, keys and tokens.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn delete(connection: &mut AsyncPgConnection, id: UserId) -> Result<()> {
    match diesel::delete(dsl::users.filter(dsl::id.eq(id.0))).execute(connection).await? {
        0 => Err(Error::NotFound),
        _ => Ok(()),
    }
}

/// Revokes every API key of a user that is not revoked yet.
///
/// # Errors
/// As the database tells.
pub async fn revoke_api_keys(connection: &mut AsyncPgConnection, id: UserId) -> Result<()> {
    let now = diesel::dsl::now.into_sql::<diesel::sql_types::Timestamptz>();
    let alive = api_keys::table.filter(api_keys::created_by.eq(id.0).and(api_keys::revoked_at.is_null()));
    let revoke = diesel::update(alive).set(api_keys::revoked_at.eq(now.nullable()));
    revoke.execute(connection).await?;
    Ok(())
}

/// Up to `at_most` users in the order of their ids, from behind `after` on.
///
/// # Errors
/// As the database tells.
pub async fn in_order(
    connection: &mut AsyncPgConnection,
    after: Option<UserId>,
    at_most: i64,
) -> Result<Vec<User>> {
    let after = after.map_or(Uuid::nil(), |id| id.0);
    let rows: Vec<UserRow> = dsl::users
        .filter(dsl::id.gt(after))
        .select(USER)
        .order(dsl::id)
        .limit(at_most)
        .load(connection)
        .await?;
    rows.into_iter().map(user_row::user).collect()
}

/// Users, newest first, behind `after`: up to [`Limit::fetch`].
///
/// # Errors
/// As the database tells.
pub async fn page(
    connection: &mut AsyncPgConnection,
    filter: &UserFilter,
    after: Option<Cursor>,
    limit: Limit,
) -> Result<Vec<User>> {
    let mut query = dsl::users.select(USER).into_boxed();
    if let Some(role) = filter.role {
        query = query.filter(dsl::role.eq(role.as_str()));
    }
    if let Some(is_active) = filter.is_active {
        query = query.filter(dsl::is_active.eq(is_active));
    }
    if let Some(text) = &filter.text {
        let pattern = format!("%{}%", escape_like(&text.to_ascii_lowercase()));
        query = query.filter(dsl::username_canon.like(pattern.clone()).or(dsl::email_canon.like(pattern)));
    }
    if let Some(Cursor { at: Some(at), id }) = after {
        query = query.filter(dsl::created_at.lt(at).or(dsl::created_at.eq(at).and(dsl::id.lt(id))));
    }
    let rows: Vec<UserRow> =
        query.order((dsl::created_at.desc(), dsl::id.desc())).limit(limit.fetch()).load(connection).await?;
    rows.into_iter().map(user_row::user).collect()
}

fn account_of((user, password_hash, auth_version): AccountRow) -> Result<Account> {
    Ok(Account { user: user_row::user(user)?, password_hash: PasswordHash::new(password_hash), auth_version })
}
