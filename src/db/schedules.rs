//! Schedules, as users see and change them.

use chrono::{DateTime, Utc};
use diesel::{
    ExpressionMethods, OptionalExtension, QueryDsl, Queryable, Selectable, SelectableHelper, sql_types::Text,
};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::{
    clock,
    json::{Stored, Written},
    schema::schedules,
    statement::{Fixed, Statement},
};
use crate::domain::{
    Error, JsonText, Result, ScheduleId, UserId, Violation,
    schedule::{Missed, Plan, Schedule},
    schedule_request::ScheduleRequest,
};

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = schedules)]
struct ScheduleRow {
    id: Uuid,
    name: String,
    cron: String,
    timezone: String,
    task_type: String,
    payload: Stored,
    queue: String,
    enabled: bool,
    disabled_reason: Option<String>,
    missed: String,
    next_run_at: Option<DateTime<Utc>>,
    last_run_at: Option<DateTime<Utc>>,
    created_by: Option<Uuid>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<ScheduleRow> for Schedule {
    type Error = Error;

    fn try_from(row: ScheduleRow) -> Result<Self> {
        let unknown = |_| Error::internal("a schedule has an unknown policy for missed ticks");
        Ok(Self {
            id: ScheduleId(row.id),
            name: row.name,
            cron: row.cron,
            timezone: row.timezone,
            task_type: row.task_type,
            payload: row.payload.read()?,
            queue: row.queue,
            enabled: row.enabled,
            // Plain SQL may have enabled it again.
            disabled_reason: row.disabled_reason.filter(|_| !row.enabled),
            missed: Missed::parse(&row.missed).map_err(unknown)?,
            next_run_at: row.next_run_at,
            last_run_at: row.last_run_at,
            created_by: row.created_by.map(UserId),
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// At most `fetch` schedules, the newest first, those before the schedule `before`.
///
/// # Errors
/// As the database tells.
pub async fn page(
    connection: &mut AsyncPgConnection,
    before: Option<ScheduleId>,
    fetch: i64,
) -> Result<Vec<Schedule>> {
    let mut query = schedules::table
        .select(ScheduleRow::as_select())
        .order(schedules::id.desc())
        .limit(fetch)
        .into_boxed();
    if let Some(before) = before {
        query = query.filter(schedules::id.lt(before.0));
    }
    let rows: Vec<ScheduleRow> = query.load(connection).await?;
    // One that cannot be read does not hide the others.
    let read = |row: ScheduleRow| {
        let id = row.id;
        let schedule = Schedule::try_from(row);
        let logged = schedule.inspect_err(|error| {
            log::error!(schedule_id:% = id, error:% = error; "database failed to decode a schedule");
        });
        logged.ok()
    };
    Ok(rows.into_iter().filter_map(read).collect())
}

/// The schedule with this id.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn find(connection: &mut AsyncPgConnection, id: ScheduleId) -> Result<Schedule> {
    let query = schedules::table.find(id.0).select(ScheduleRow::as_select());
    query.first(connection).await.optional()?.ok_or(Error::NotFound)?.try_into()
}

/// The id of the schedule with this name.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn find_by_name(connection: &mut AsyncPgConnection, name: &str) -> Result<ScheduleId> {
    let query = schedules::table.filter(schedules::name.eq(name)).select(schedules::id);
    query.first(connection).await.optional()?.map(ScheduleId).ok_or(Error::NotFound)
}

/// Judges a payload by its type.
pub type Check<'a> = &'a (dyn Fn(&str, &JsonText) -> Result<(), Vec<Violation>> + Sync);

/// Makes a schedule.
///
/// # Errors
/// [`Error::Invalid`] with everything that is wrong; [`Error::Conflict`] when its name is taken.
pub async fn insert(
    connection: &mut AsyncPgConnection,
    request: ScheduleRequest,
    created_by: Option<UserId>,
    check: Check<'_>,
) -> Result<Schedule> {
    let now = clock::now(connection).await?;
    let plan = request.plan(now, check).map_err(Error::Invalid)?;
    let values = (
        schedules::id.eq(ScheduleId::new().0),
        schedules::created_by.eq(created_by.map(|user| user.0)),
        columns(&plan),
    );
    let query = diesel::insert_into(schedules::table).values(values).returning(ScheduleRow::as_returning());
    let row: ScheduleRow = query.get_result(connection).await?;
    tell(connection).await?;
    row.try_into()
}

/// Changes a schedule. Its next tick stays when neither its times nor `enabled` change. What is stored and not asked to
/// change is not judged, so a schedule that today's rules refuse can still be renamed and disabled.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Invalid`] with everything that is wrong; [`Error::Conflict`] when its name is taken.
pub async fn update(
    connection: &mut AsyncPgConnection,
    id: ScheduleId,
    request: ScheduleRequest,
    check: Check<'_>,
) -> Result<Schedule> {
    connection
        .transaction(async |connection| {
            let query = schedules::table.find(id.0).select(ScheduleRow::as_select()).for_update();
            let row: ScheduleRow = query.first(connection).await.optional()?.ok_or(Error::NotFound)?;
            let before = Schedule::try_from(row)?;
            let now = clock::now(connection).await?;
            let plan = request.change(&before, now, check).map_err(Error::Invalid)?;
            let query = diesel::update(schedules::table.find(id.0))
                .set(columns(&plan))
                .returning(ScheduleRow::as_returning());
            let row: ScheduleRow = query.get_result(connection).await?;
            tell(connection).await?;
            row.try_into()
        })
        .await
}

/// Deletes a schedule. Tasks that it made stay.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn delete(connection: &mut AsyncPgConnection, id: ScheduleId) -> Result<()> {
    match diesel::delete(schedules::table.find(id.0)).execute(connection).await? {
        0 => Err(Error::NotFound),
        _ => Ok(()),
    }
}

type Assignment<C, T> = diesel::dsl::Eq<C, T>;

/// What a plan says, for insert and update alike.
#[expect(clippy::type_complexity, reason = "a list of columns")]
fn columns(
    plan: &Plan,
) -> (
    Assignment<schedules::name, &str>,
    Assignment<schedules::cron, &str>,
    Assignment<schedules::timezone, &str>,
    Assignment<schedules::task_type, &str>,
    Assignment<schedules::payload, Written<'_>>,
    Assignment<schedules::queue, &str>,
    Assignment<schedules::enabled, bool>,
    Assignment<schedules::disabled_reason, Option<&str>>,
    Assignment<schedules::missed, &str>,
    Assignment<schedules::next_run_at, Option<DateTime<Utc>>>,
) {
    (
        schedules::name.eq(plan.name.as_str()),
        schedules::cron.eq(plan.cron.as_str()),
        schedules::timezone.eq(plan.timezone.as_str()),
        schedules::task_type.eq(plan.task_type.as_str()),
        schedules::payload.eq(Written(&plan.payload)),
        schedules::queue.eq(plan.queue.as_str()),
        schedules::enabled.eq(plan.enabled),
        schedules::disabled_reason.eq(plan.disabled_reason.as_deref()),
        schedules::missed.eq(plan.missed.as_str()),
        schedules::next_run_at.eq(plan.next_run_at),
    )
}

struct Tell;

impl Fixed for Tell {
    const SQL: &'static str = "select pg_notify('starter_tasks', '+')::text";
    type Args = ();
    type Row = (Text,);
}

/// Whoever waits for the next tick has to look again.
async fn tell(connection: &mut AsyncPgConnection) -> Result<()> {
    let _: (String,) = Statement::<Tell, _>::with(()).get_result(connection).await?;
    Ok(())
}
