//! The audit log: append-only, which the database enforces too.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use ipnet::IpNet;
use serde_json::Value;
use uuid::Uuid;

use super::{
    escape_like,
    schema::audit_log::{self, dsl},
    statement::{Fixed, Statement},
};
use crate::domain::{
    Cursor, Limit, Result, UserId,
    audit::{Act, Actor, Entry, Filter},
};

#[derive(Insertable)]
#[diesel(table_name = audit_log)]
struct NewRow<'a> {
    id: Uuid,
    actor_kind: String,
    actor_id: Option<Uuid>,
    credential_id: Option<Uuid>,
    action: &'a str,
    target_kind: Option<&'a str>,
    target_id: Option<Uuid>,
    outcome: String,
    ip_address: Option<IpNet>,
    request_id: Option<&'a str>,
    detail: Value,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = audit_log)]
struct Row {
    id: Uuid,
    at: DateTime<Utc>,
    actor_kind: String,
    actor_id: Option<Uuid>,
    credential_id: Option<Uuid>,
    action: String,
    target_kind: Option<String>,
    target_id: Option<Uuid>,
    outcome: String,
    ip_address: Option<IpNet>,
    request_id: Option<String>,
    detail: Value,
}

/// Writes an act down, in the transaction of the act.
///
/// # Errors
/// As the database tells.
pub async fn append(connection: &mut AsyncPgConnection, actor: &Actor, act: Act) -> Result<()> {
    let row = NewRow::from((actor, act));
    diesel::insert_into(dsl::audit_log).values(row).execute(connection).await?;
    Ok(())
}

/// Writes several acts down with one statement.
///
/// # Errors
/// As the database tells.
pub async fn append_all(
    connection: &mut AsyncPgConnection,
    acts: impl Iterator<Item = (Actor, Act)>,
) -> Result<()> {
    let acts: Vec<(Actor, Act)> = acts.collect();
    let rows: Vec<NewRow<'_>> = acts.iter().map(|(actor, act)| NewRow::from((actor, act.clone()))).collect();
    if !rows.is_empty() {
        diesel::insert_into(dsl::audit_log).values(rows).execute(connection).await?;
    }
    Ok(())
}

impl<'a> From<(&'a Actor, Act)> for NewRow<'a> {
    fn from((actor, act): (&'a Actor, Act)) -> Self {
        Self {
            id: Uuid::now_v7(),
            actor_kind: actor.kind.to_string(),
            actor_id: actor.user.map(|user| user.0),
            credential_id: actor.credential,
            action: act.action,
            target_kind: act.target.map(|target| target.kind),
            target_id: act.target.and_then(|target| target.id),
            outcome: act.outcome.to_string(),
            ip_address: actor.origin.ip_address.map(IpNet::from),
            request_id: actor.origin.request_id.as_deref(),
            detail: Value::Object(act.detail),
        }
    }
}

/// Entries, newest first, behind `after`: up to [`Limit::fetch`].
///
/// # Errors
/// As the database tells.
pub async fn page(
    connection: &mut AsyncPgConnection,
    filter: &Filter,
    after: Option<Cursor>,
    limit: Limit,
) -> Result<Vec<Entry>> {
    let mut query = dsl::audit_log.select(Row::as_select()).into_boxed();
    if let Some(actor) = filter.actor {
        query = query.filter(dsl::actor_id.eq(actor.0));
    }
    if let Some(target) = filter.target {
        query = query.filter(dsl::target_id.eq(target));
    }
    if let Some(action) = &filter.action {
        query = match action.strip_suffix('.') {
            Some(_) => query.filter(dsl::action.like(format!("{}%", escape_like(action)))),
            None => query.filter(dsl::action.eq(action)),
        };
    }
    if let Some(Cursor { at: Some(at), id }) = after {
        query = query.filter(dsl::at.lt(at).or(dsl::at.eq(at).and(dsl::id.lt(id))));
    }
    let rows: Vec<Row> =
        query.order((dsl::at.desc(), dsl::id.desc())).limit(limit.fetch()).load(connection).await?;
    Ok(rows.into_iter().map(Entry::from).collect())
}

struct Sweep;

impl Fixed for Sweep {
    const SQL: &'static str = "
        delete from audit_log where id = any(array(
            select id from audit_log where at < now() - make_interval(secs => $1)
            order by at, id limit $2 for update skip locked))";
    type Args = (diesel::sql_types::Double, diesel::sql_types::BigInt);
    type Row = ();
}

/// Deletes up to `limit` entries that are older than this, the oldest first. Returns how many there were.
///
/// # Errors
/// As the database tells.
pub async fn sweep(
    connection: &mut AsyncPgConnection,
    older_than: std::time::Duration,
    limit: i64,
) -> Result<usize> {
    Ok(Statement::<Sweep, _>::with((older_than.as_secs_f64(), limit)).execute(connection).await?)
}

impl From<Row> for Entry {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            at: row.at,
            actor_kind: row.actor_kind,
            actor_id: row.actor_id.map(UserId),
            credential_id: row.credential_id,
            action: row.action,
            target_kind: row.target_kind,
            target_id: row.target_id,
            outcome: row.outcome,
            ip_address: row.ip_address.map(|net| -> IpAddr { net.addr() }),
            request_id: row.request_id,
            detail: row.detail,
        }
    }
}
