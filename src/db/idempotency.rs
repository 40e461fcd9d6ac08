//! First answers to requests that carried `Idempotency-Key`.
//!
//! Two ways to use it. Work that is done in one transaction with it: [`look_up`], the work, [`store`]; while that
//! transaction is open, an advisory lock tells others that the first request is under way, and a crash frees the key at once.
//! Work that is done elsewhere: [`claim`] and later [`finish`], each on its own; a crash between them
//! frees the key after [`STALE_SECS`].

use diesel::{
    ExpressionMethods, QueryDsl,
    sql_types::{Array, Binary, Bool, Double, Nullable, SmallInt, Text, Uuid as SqlUuid},
};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::{
    schema::idempotency_keys,
    statement::{Fixed, Statement},
};
use crate::domain::{
    Result, TaskId, UserId,
    idempotency::{Answer, IdempotencyKey, Known},
};

/// How long a first answer is kept: a day.
const KEEP_SECS: f64 = 86_400.0;
/// How long a claimed key waits for its answer; longer than any request may take.
const STALE_SECS: f64 = 120.0;

struct Lock;

impl Fixed for Lock {
    const SQL: &'static str = "
        select user_id, key, pg_try_advisory_xact_lock(hashtextextended(user_id::text || key, 7361))
        from unnest($1, $2) as wanted (user_id, key)";
    type Args = (Array<SqlUuid>, Array<Text>);
    type Row = (SqlUuid, Text, Bool);
}

struct LookUp;

impl Fixed for LookUp {
    const SQL: &'static str = "
        select known.user_id, known.key, request_hash, status, location, body, sealed, task_ids
        from unnest($1, $2) as wanted (user_id, key)
        join idempotency_keys known on known.user_id = wanted.user_id and known.key = wanted.key
        where known.user_id = any($1) and known.key = any($2)
            and created_at > statement_timestamp() - make_interval(secs =>
                case when known.status is null then $3 else $4 end)";
    type Args = (Array<SqlUuid>, Array<Text>, Double, Double);
    type Row = (
        SqlUuid,
        Text,
        Binary,
        Nullable<SmallInt>,
        Nullable<Text>,
        Nullable<Binary>,
        Bool,
        Nullable<Array<SqlUuid>>,
    );
}

type KnownRow =
    (Uuid, String, Vec<u8>, Option<i16>, Option<String>, Option<Vec<u8>>, bool, Option<Vec<Uuid>>);

struct Store;

impl Fixed for Store {
    // What is there has expired: it was not found by the look-up under the same lock.
    const SQL: &'static str = "
        insert into idempotency_keys (user_id, key, request_hash, status, location, body, sealed, created_at, task_ids)
        select user_id, key, request_hash, status, location, body, sealed, statement_timestamp(),
            string_to_array(task_ids, ',')::uuid[]
        from unnest($1, $2, $3, $4, $5, $6, $7, $8) as new (
            user_id, key, request_hash, status, location, body, sealed, task_ids)
        on conflict (user_id, key) do update set request_hash = excluded.request_hash, status = excluded.status,
            location = excluded.location, body = excluded.body, sealed = excluded.sealed,
            created_at = excluded.created_at, task_ids = excluded.task_ids
        returning user_id";
    type Args = (
        Array<SqlUuid>,
        Array<Text>,
        Array<Binary>,
        Array<Nullable<SmallInt>>,
        Array<Nullable<Text>>,
        Array<Nullable<Binary>>,
        Array<Bool>,
        // Arrays of arrays have no gaps in SQL.
        Array<Nullable<Text>>,
    );
    type Row = (SqlUuid,);
}

/// Takes the keys for the rest of the transaction, and finds what is known of them; in the order of `keys`, which
/// holds none twice.
///
/// # Errors
/// As the database tells.
pub async fn look_up(connection: &mut AsyncPgConnection, keys: &[IdempotencyKey]) -> Result<Vec<Known>> {
    let users: Vec<Uuid> = keys.iter().map(|key| key.user.0).collect();
    let texts: Vec<&str> = keys.iter().map(|key| key.text.as_str()).collect();
    let locks: Vec<(Uuid, String, bool)> =
        Statement::<Lock, _>::with((&users, &texts)).get_results(connection).await?;
    // After the locks, with a snapshot of its own: whoever had a lock before has committed.
    let values = (&users, &texts, STALE_SECS, KEEP_SECS);
    let rows: Vec<KnownRow> = Statement::<LookUp, _>::with(values).get_results(connection).await?;
    let mut known: std::collections::HashMap<(UserId, String), Known> =
        rows.into_iter().map(|row| ((UserId(row.0), row.1.clone()), read(row))).collect();
    for (user, key, is_ours) in locks {
        if !is_ours {
            known.insert((UserId(user), key), Known::UnderWay);
        }
    }
    Ok(keys.iter().map(|key| known.remove(&(key.user, key.text.clone())).unwrap_or(Known::Nothing)).collect())
}

fn read((_, _, hash, status, location, body, sealed, task_ids): KnownRow) -> Known {
    match (<[u8; 32]>::try_from(hash), status, body) {
        (Ok(request_hash), Some(status), Some(body)) => {
            let status = u16::try_from(status).unwrap_or(500);
            let tasks = task_ids.unwrap_or_default().into_iter().map(TaskId).collect();
            Known::Answered { request_hash, answer: Answer { status, location, body, sealed, tasks } }
        }
        _ => Known::UnderWay,
    }
}

/// Keeps the answers to requests whose keys this transaction took with [`look_up`]; without an answer, the key is claimed.
///
/// # Errors
/// As the database tells.
pub async fn store(
    connection: &mut AsyncPgConnection,
    answers: &[(IdempotencyKey, Option<Answer>)],
) -> Result<()> {
    let (keys, answers): (Vec<_>, Vec<_>) =
        answers.iter().map(|(key, answer)| (key, answer.as_ref())).unzip();
    let status = |answer: &Answer| i16::try_from(answer.status).unwrap_or(500);
    let statement = Statement::<Store, _>::with((
        keys.iter().map(|key| key.user.0).collect::<Vec<_>>(),
        keys.iter().map(|key| key.text.as_str()).collect::<Vec<_>>(),
        keys.iter().map(|key| key.request_hash.as_slice()).collect::<Vec<_>>(),
        answers.iter().map(|answer| answer.map(status)).collect::<Vec<_>>(),
        answers.iter().map(|answer| answer.and_then(|it| it.location.as_deref())).collect::<Vec<_>>(),
        answers.iter().map(|answer| answer.map(|it| it.kept().0)).collect::<Vec<_>>(),
        answers.iter().map(|answer| answer.is_some_and(|it| it.sealed)).collect::<Vec<_>>(),
        answers.iter().map(|answer| answer.and_then(|it| it.kept().1).map(joined)).collect::<Vec<_>>(),
    ));
    let _: Vec<(Uuid,)> = statement.get_results(connection).await?;
    Ok(())
}

fn joined(tasks: &[TaskId]) -> String {
    tasks.iter().map(|task| task.0.to_string()).collect::<Vec<_>>().join(",")
}

/// Claims the key for work that is done elsewhere, if nothing is known of it.
///
/// # Errors
/// As the database tells.
pub async fn claim(connection: &mut AsyncPgConnection, key: IdempotencyKey) -> Result<Known> {
    connection
        .transaction(async |connection| {
            let known = look_up(connection, std::slice::from_ref(&key)).await?.pop();
            if let Some(Known::Nothing) | None = known {
                store(connection, &[(key, None)]).await?;
            }
            Ok(known.unwrap_or(Known::Nothing))
        })
        .await
}

/// Keeps the answer to the request that claimed the key. `None` frees the key: the work was not done.
///
/// # Errors
/// As the database tells.
pub async fn finish(
    connection: &mut AsyncPgConnection,
    key: IdempotencyKey,
    answer: Option<Answer>,
) -> Result<()> {
    if answer.is_some() {
        return store(connection, &[(key, answer)]).await;
    }
    let claimed = idempotency_keys::table
        .find((key.user.0, &key.text))
        .filter(idempotency_keys::status.is_null())
        .filter(idempotency_keys::request_hash.eq(key.request_hash.as_slice()));
    diesel::delete(claimed).execute(connection).await?;
    Ok(())
}
