//! `/api/v1/schedules`: tasks that recur.

use actix_web::{HttpResponse, http::header, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Endpoint, Identity, Json, PageQuery, Path, Problem, Query, RequestOrigin, json};
use crate::{
    actors::{
        dispatcher::{
            CreateSchedule, DeleteSchedule, FindSchedule, Intake, ListSchedules, TaskDispatcher,
            UpdateSchedule,
        },
        live::Live,
    },
    domain::{
        Action, Cursor, JsonText, Listing, Page, ScheduleId,
        audit::Actor,
        schedule::{Missed, Schedule},
        schedule_request::ScheduleRequest,
    },
    endpoint,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint!(list, Action::ReadSchedules),
        endpoint!(create, Action::WriteSchedules).judging_content(),
        endpoint!(show, Action::ReadSchedules),
        endpoint!(update, Action::WriteSchedules).judging_content(),
        endpoint!(delete, Action::WriteSchedules),
    ]
}

type Dispatcher = web::Data<Live<TaskDispatcher>>;
/// Ticks after the next one that are shown.
const UPCOMING: usize = 5;

/// A schedule, and when it comes next.
#[derive(Debug, Serialize, ToSchema)]
struct ScheduleAnswer {
    #[serde(flatten)]
    schedule: Schedule,
    /// The next ticks; none while it is disabled.
    upcoming: Vec<DateTime<Utc>>,
}

impl From<Schedule> for ScheduleAnswer {
    fn from(schedule: Schedule) -> Self {
        Self { upcoming: schedule.upcoming(UPCOMING), schedule }
    }
}

/// A task that shall recur.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ScheduleCreation {
    /// Unique; 1 to 100 characters.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// Minute, hour, day of month, month, day of week, as crontab(5) has them; or 6 fields, seconds first; or `@hourly`,
    /// `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly`, `@annually`.
    #[schema(example = "0 3 * * *", min_length = 1, max_length = 200)]
    cron: String,
    /// IANA name; `UTC` without it.
    #[serde(default)]
    #[schema(example = "Europe/Berlin", min_length = 1, max_length = 64)]
    timezone: Option<String>,
    /// One of `GET /api/v1/tasks/types`.
    #[schema(example = "maintenance.sweep")]
    task_type: String,
    /// What each task is told; fits the schema of its type. `{}` without it.
    #[serde(default, deserialize_with = "json::payload")]
    #[schema(value_type = Option<Object>)]
    payload: Option<JsonText>,
    /// `default` without it.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z0-9_.-]{1,64}$")]
    queue: Option<String>,
    /// `true` without it.
    #[serde(default)]
    enabled: Option<bool>,
    /// What becomes of ticks that passed while no worker was there; `skip` without it.
    #[serde(default)]
    #[schema(value_type = Option<Missed>)]
    missed: Option<String>,
}

impl From<ScheduleCreation> for ScheduleRequest {
    fn from(sent: ScheduleCreation) -> Self {
        Self {
            name: Some(sent.name),
            cron: Some(sent.cron),
            timezone: sent.timezone,
            task_type: Some(sent.task_type),
            payload: sent.payload,
            queue: sent.queue,
            enabled: sent.enabled,
            missed: sent.missed,
        }
    }
}

/// What shall change of a schedule.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ScheduleChange {
    #[serde(default)]
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    cron: Option<String>,
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64)]
    timezone: Option<String>,
    #[serde(default)]
    task_type: Option<String>,
    #[serde(default, deserialize_with = "json::payload")]
    #[schema(value_type = Option<Object>)]
    payload: Option<JsonText>,
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z0-9_.-]{1,64}$")]
    queue: Option<String>,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    #[schema(value_type = Option<Missed>)]
    missed: Option<String>,
}

impl ScheduleChange {
    fn only_disables(&self) -> bool {
        let Self { name, cron, timezone, task_type, payload, queue, enabled, missed } = self;
        let others = [name, cron, timezone, task_type, queue, missed];
        *enabled == Some(false) && payload.is_none() && others.into_iter().all(Option::is_none)
    }
}

impl From<ScheduleChange> for ScheduleRequest {
    fn from(sent: ScheduleChange) -> Self {
        Self {
            name: sent.name,
            cron: sent.cron,
            timezone: sent.timezone,
            task_type: sent.task_type,
            payload: sent.payload,
            queue: sent.queue,
            enabled: sent.enabled,
            missed: sent.missed,
        }
    }
}

/// Schedules, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/schedules",
    tag = "schedules",
    security(("bearer" = [])),
    params(PageQuery),
    responses((status = 200, description = "One page", body = Page<ScheduleAnswer>))
)]
async fn list(
    identity: Identity,
    query: Query<PageQuery>,
    desk: Dispatcher,
) -> Result<web::Json<Page<ScheduleAnswer>>, Problem> {
    let listing = Listing::new("schedules", identity.user.id);
    let (after, limit) = query.0.read(&listing)?;
    let before = after.map(|cursor| ScheduleId(cursor.id));
    let schedules = desk.ask(ListSchedules { before, fetch: limit.fetch() }).await?;
    let page = Page::new(schedules, limit, &listing, |schedule| Cursor { at: None, id: schedule.id.0 });
    Ok(web::Json(page.map(ScheduleAnswer::from)))
}

/// Makes a schedule: from now on, each tick is one task, however many workers there are.
#[utoipa::path(
    post,
    path = "/api/v1/schedules",
    tag = "schedules",
    security(("bearer" = [])),
    request_body = ScheduleCreation,
    responses((status = 201, description = "The schedule", body = ScheduleAnswer, headers(("Location" = String))))
)]
async fn create(
    identity: Identity,
    body: Json<ScheduleCreation>,
    (desk, gate): (Dispatcher, web::Data<Intake>),
    from: RequestOrigin,
) -> Result<HttpResponse, Problem> {
    let sent = body.into_inner();
    gate.may_enqueue(&identity, &sent.task_type)?;
    let request = sent.into();
    let schedule = desk
        .ask(CreateSchedule { request, created_by: Some(identity.user.id), by: Actor::of(&identity, from.0) })
        .await?;
    let location = format!("/api/v1/schedules/{}", schedule.id);
    Ok(HttpResponse::Created()
        .insert_header((header::LOCATION, location))
        .json(ScheduleAnswer::from(schedule)))
}

/// One schedule.
#[utoipa::path(
    get,
    path = "/api/v1/schedules/{id}",
    tag = "schedules",
    security(("bearer" = [])),
    params(("id" = ScheduleId, Path)),
    responses((status = 200, description = "The schedule", body = ScheduleAnswer))
)]
async fn show(id: Path<ScheduleId>, desk: Dispatcher) -> Result<web::Json<ScheduleAnswer>, Problem> {
    Ok(web::Json(desk.ask(FindSchedule(id.0)).await?.into()))
}

/// Changes a schedule; what is not given stays.
#[utoipa::path(
    patch,
    path = "/api/v1/schedules/{id}",
    tag = "schedules",
    security(("bearer" = [])),
    params(("id" = ScheduleId, Path)),
    request_body = ScheduleChange,
    responses((status = 200, description = "The schedule as it is now", body = ScheduleAnswer))
)]
async fn update(
    identity: Identity,
    id: Path<ScheduleId>,
    body: Json<ScheduleChange>,
    (desk, gate): (Dispatcher, web::Data<Intake>),
    from: RequestOrigin,
) -> Result<web::Json<ScheduleAnswer>, Problem> {
    let sent = body.into_inner();
    judge_change(&identity, id.0, &sent, &desk, &gate).await?;
    let request = sent.into();
    Ok(web::Json(
        desk.ask(UpdateSchedule { id: id.0, request, by: Actor::of(&identity, from.0) }).await?.into(),
    ))
}

/// Judges the change of a schedule by the type that it had and the one that it gets: who may not enqueue a type neither
/// makes a schedule of it nor changes one. To switch one off takes nothing more.
async fn judge_change(
    identity: &Identity,
    id: ScheduleId,
    sent: &ScheduleChange,
    desk: &Dispatcher,
    gate: &Intake,
) -> Result<(), Problem> {
    if sent.only_disables() {
        return Ok(());
    }

    let former = desk.ask(FindSchedule(id)).await?.task_type;
    for task_type in [Some(&former), sent.task_type.as_ref()].into_iter().flatten() {
        gate.may_enqueue(identity, task_type)?;
    }
    Ok(())
}

/// Deletes a schedule. Tasks that it made stay.
#[utoipa::path(
    delete,
    path = "/api/v1/schedules/{id}",
    tag = "schedules",
    security(("bearer" = [])),
    params(("id" = ScheduleId, Path)),
    responses((status = 204, description = "It is gone"))
)]
async fn delete(
    identity: Identity,
    id: Path<ScheduleId>,
    desk: Dispatcher,
    from: RequestOrigin,
) -> Result<HttpResponse, Problem> {
    desk.ask(DeleteSchedule { id: id.0, by: Actor::of(&identity, from.0) }).await?;
    Ok(HttpResponse::NoContent().finish())
}
