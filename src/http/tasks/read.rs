//! Seeing tasks, their attempts, and which types there are.

use actix_web::{HttpResponse, http::header::ContentType, web};
use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{Dispatcher, Gate};
use crate::{
    actors::dispatcher::{FindTask, ListAttempts, ListTasks},
    domain::{
        Action, Cursor, Error, Limit, Listing, Page, TaskId, UserId, Violation,
        permission::Requirement,
        task::{AttemptRecord, Status, Task},
        task_request::TaskFilter,
    },
    endpoint,
    http::{Endpoint, Identity, Path, Problem, Query, Segment as _, edge::Edge, large::LargeBody},
    tasks::Definition,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint!(list, Action::ReadTasks),
        endpoint!(types, Action::ReadTaskTypes),
        endpoint!(show, Action::ReadTasks),
        endpoint!(attempts, Action::ReadTasks),
    ]
}

/// Which tasks.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct TaskQuery {
    /// In this status.
    #[param(value_type = Option<Status>)]
    status: Option<String>,
    /// Of this type.
    task_type: Option<String>,
    /// In this queue.
    queue: Option<String>,
    /// Enqueued by this user.
    #[param(value_type = Option<UserId>)]
    created_by: Option<String>,
    /// With this key.
    unique_key: Option<String>,
    /// Tasks a page, 1 to 100; 20 without it.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl TaskQuery {
    fn listing(&self, reader: UserId) -> Listing {
        Listing::new("tasks", reader)
            .filter("status", self.status.as_deref())
            .filter("task_type", self.task_type.as_deref())
            .filter("queue", self.queue.as_deref())
            .filter("created_by", self.created_by.as_deref())
            .filter("unique_key", self.unique_key.as_deref())
    }

    fn filter(self) -> Result<TaskFilter, Error> {
        let status = self.status.as_deref().map(|name| {
            let names = Status::ALL.map(Status::as_str).join(", ");
            Status::parse(name).ok_or_else(|| Violation::new("/status", "invalid_value", names))
        });
        let created_by = self.created_by.as_deref().map(|id| {
            UserId::read(id).ok_or_else(|| Violation::new("/created_by", "invalid_value", "the id of a user"))
        });
        match (status.transpose(), created_by.transpose()) {
            (Ok(status), Ok(created_by)) => Ok(TaskFilter {
                status,
                task_type: self.task_type,
                queue: self.queue,
                created_by,
                unique_key: self.unique_key,
            }),
            (status, created_by) => {
                Err(Error::Invalid(status.err().into_iter().chain(created_by.err()).collect()))
            }
        }
    }
}

/// Tasks, newest first: the caller's own; everybody's for an admin.
#[utoipa::path(
    get,
    path = "/api/v1/tasks",
    tag = "tasks",
    security(("bearer" = [])),
    params(TaskQuery),
    responses((status = 200, description = "One page", body = Page<Task>))
)]
async fn list(
    identity: Identity,
    query: Query<TaskQuery>,
    desk: Dispatcher,
    edge: web::Data<Edge>,
) -> Result<HttpResponse, Problem> {
    let listing = query.0.listing(identity.user.id);
    let limit = Limit::parse(query.0.limit.as_deref())?;
    let after = query.0.cursor.as_deref().map(|text| listing.open(text)).transpose()?;
    let wanted = ListTasks {
        reach: identity.reach(),
        filter: query.0.filter()?,
        before: after.map(|cursor| TaskId(cursor.id)),
        fetch: limit.fetch(),
    };
    let permit = edge.large.admit(identity.user.id, 0).await?;
    let tasks = desk.ask(wanted).await?;
    let page = Page::of_part(tasks, limit, &listing, |task| Cursor { at: None, id: task.id.0 });
    let body = serde_json::to_vec(&page).map_err(Error::internal)?;
    let mut response = HttpResponse::Ok();
    Ok(response.content_type(ContentType::json()).body(LargeBody::new(body, permit)))
}

/// One task.
#[utoipa::path(
    get,
    path = "/api/v1/tasks/{id}",
    tag = "tasks",
    security(("bearer" = [])),
    params(("id" = TaskId, Path)),
    responses((status = 200, description = "The task", body = Task))
)]
async fn show(identity: Identity, id: Path<TaskId>, desk: Dispatcher) -> Result<web::Json<Task>, Problem> {
    Ok(web::Json(desk.ask(FindTask { id: id.0, reach: identity.reach() }).await?))
}

/// The attempts at a task, the first one first: when each started and ended, on which worker, and why it failed.
#[utoipa::path(
    get,
    path = "/api/v1/tasks/{id}/attempts",
    tag = "tasks",
    security(("bearer" = [])),
    params(("id" = TaskId, Path)),
    responses((status = 200, description = "All of them", body = Page<AttemptRecord>))
)]
async fn attempts(
    identity: Identity,
    id: Path<TaskId>,
    desk: Dispatcher,
) -> Result<web::Json<Page<AttemptRecord>>, Problem> {
    let items = desk.ask(ListAttempts { id: id.0, reach: identity.reach() }).await?;
    Ok(web::Json(Page { items, next_cursor: None }))
}

/// A type of task.
#[derive(ToSchema)]
#[expect(dead_code, reason = "what `types` answers with, for the document")]
struct TaskTypeInfo {
    /// Its name.
    task_type: String,
    /// What it does.
    description: String,
    /// JSON Schema (2020-12) of its payload.
    #[schema(value_type = Object)]
    payload_schema: Value,
    /// `queue`, `priority`, `max_attempts` and `timeout_secs` of a task that does not say otherwise.
    #[schema(value_type = Object)]
    defaults: Value,
    /// When a failed attempt is followed by the next.
    #[schema(value_type = Object)]
    retry: Value,
    /// The most seconds that a task of this type may ask for as its `timeout_secs`.
    max_timeout_secs: i32,
    /// Tasks of this type that run at once across all workers; null: no limit.
    #[schema(required = true)]
    max_running: Option<u32>,
    /// What enqueueing, retrying and scheduling take, besides `tasks:write`.
    enqueue: Requirement,
    /// What fetching its file takes, besides `tasks:read`.
    file: Requirement,
    /// Whether the caller may enqueue it now.
    may_enqueue: bool,
}

/// Every type of task, with the JSON Schema of its payload, its defaults, its retry policy, and who may enqueue it.
#[utoipa::path(
    get,
    path = "/api/v1/tasks/types",
    tag = "tasks",
    security(("bearer" = [])),
    responses((status = 200, description = "All of them", body = Page<TaskTypeInfo>))
)]
async fn types(identity: Identity, gate: Gate) -> Result<web::Json<Page<Value>>, Problem> {
    let show = |known: &Definition| {
        let mut shown = serde_json::to_value(known)?;
        let may_enqueue = identity.may(known.enqueue).is_ok();
        if let Value::Object(shown) = &mut shown {
            shown.insert("may_enqueue".to_owned(), may_enqueue.into());
        }
        Ok::<_, serde_json::Error>(shown)
    };
    let items = gate.definitions().iter().map(show).collect::<Result<_, _>>();
    Ok(web::Json(Page { items: items.map_err(Error::internal)?, next_cursor: None }))
}
