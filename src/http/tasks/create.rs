//! Enqueueing tasks, one or many.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Dispatcher, Gate};
use crate::{
    actors::dispatcher::{EnqueueMails, EnqueueOnce, EnqueueTask, EnqueueTasks, Intake, Replayable, Told},
    domain::{
        Action, Error, JsonText, Result, Violation,
        idempotency::Answer,
        task::{Enqueued, NewTask, Task},
        task_request::{MAX_BATCH, TaskRequest},
    },
    endpoint,
    http::{
        Endpoint, Identity, Json, Problem,
        edge::Edge,
        idempotency::{Idempotency, respond, respond_with},
        json::{self, Object},
        large::LargeBody,
    },
    telemetry,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint!(create, Action::WriteTasks).judging_content(),
        endpoint!(create_batch, Action::WriteTasks).judging_content(),
    ]
}

/// A task that is wanted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct TaskCreation {
    /// One of `GET /api/v1/tasks/types`.
    #[schema(example = "noop")]
    task_type: String,
    /// What the task is told; fits the schema of its type. `{}` without it.
    #[serde(default, deserialize_with = "json::payload")]
    #[schema(value_type = Option<Object>)]
    payload: Option<JsonText>,
    /// Which workers run it: 1 to 64 of a-z, 0-9, `_`, `.` and `-`.
    #[serde(default)]
    #[schema(example = "default", min_length = 1, max_length = 64, pattern = "^[a-z0-9_.-]{1,64}$")]
    queue: Option<String>,
    /// Higher first. Above 0 for administrators only.
    #[serde(default)]
    #[schema(minimum = -100, maximum = 100)]
    priority: Option<i64>,
    /// Not before this, RFC 3339; a time that has passed is now. Not together with `delay_secs`.
    #[serde(default)]
    #[schema(format = DateTime)]
    run_at: Option<String>,
    /// Not before this many seconds from now, fractions allowed. Not together with `run_at`.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 315_360_000)]
    delay_secs: Option<f64>,
    /// Attempts that it is given.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 100)]
    max_attempts: Option<i64>,
    /// At most one unfinished task of yours has it; 1 to 200 characters.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    unique_key: Option<String>,
    /// Seconds that one attempt may take, at most the `max_timeout_secs` of the type.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 86_400)]
    timeout_secs: Option<i64>,
}

impl From<TaskCreation> for TaskRequest {
    fn from(sent: TaskCreation) -> Self {
        Self {
            task_type: sent.task_type,
            payload: sent.payload,
            queue: sent.queue,
            priority: sent.priority,
            run_at: sent.run_at,
            delay_secs: sent.delay_secs,
            max_attempts: sent.max_attempts,
            unique_key: sent.unique_key,
            timeout_secs: sent.timeout_secs,
        }
    }
}

/// Many tasks that are wanted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TaskBatch {
    /// 1 to 1000.
    #[schema(value_type = Vec<TaskCreation>, min_items = 1, max_items = 1000)]
    tasks: Vec<Object<TaskCreation>>,
}

/// The tasks of a batch, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
struct TaskItems<'a> {
    items: Vec<&'a Task>,
}

/// Enqueues a task.
///
/// While an unfinished task of the caller's has the same `unique_key`, nothing is enqueued and that task is the answer.
/// `GET /api/v1/tasks/types` shows what a type takes; a caller who may not enqueue it gets 403.
#[utoipa::path(
    post,
    path = "/api/v1/tasks",
    tag = "tasks",
    security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "The same request under the same key is carried out once and answered again, for 24 hours")),
    request_body = TaskCreation,
    responses(
        (status = 201, description = "The new task", body = Task, headers(("Location" = String))),
        (status = 200, description = "The unfinished task that has the `unique_key`", body = Task)
    )
)]
async fn create(
    identity: Identity,
    idempotency: Idempotency,
    body: Json<TaskCreation>,
    desk: Dispatcher,
    gate: Gate,
) -> Result<HttpResponse, Problem> {
    let key = idempotency.key(&identity, body.raw());
    let sent = body.into_inner();
    gate.may_enqueue(&identity, &sent.task_type)?;
    let task = admit(&gate, sent, &identity).map_err(Error::Invalid)?;

    let budget = gate.mail_budget(&identity, [task.task_type.as_str()].into_iter())?;
    let told = match (budget, key) {
        (None, None) => Told { answer: render_one(&[desk.ask(EnqueueTask(task)).await?])?, replayed: false },
        (None, Some(key)) => {
            let work = Replayable { tasks: vec![task], render: render_one };
            desk.ask(EnqueueOnce { key, work }).await?
        }
        (Some(budget), key) => {
            let work = Replayable { tasks: vec![task], render: render_one };
            desk.ask(EnqueueMails { budget, key, work }).await?
        }
    };
    Ok(respond(told.answer, told.replayed))
}

/// Enqueues 1 to 1000 tasks, all or none.
///
/// The answer has them in the order of the request; where a `unique_key` is held by an unfinished task, it has that.
#[utoipa::path(
    post,
    path = "/api/v1/tasks/batch",
    tag = "tasks",
    security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "The same request under the same key is carried out once and answered again, for 24 hours")),
    request_body = TaskBatch,
    responses((status = 201, description = "The tasks", body = TaskItems))
)]
async fn create_batch(
    identity: Identity,
    idempotency: Idempotency,
    body: Json<TaskBatch>,
    desk: Dispatcher,
    gate: Gate,
    edge: web::Data<Edge>,
) -> Result<HttpResponse, Problem> {
    let permit = edge.large.admit(identity.user.id, body.raw().len()).await?;
    let key = idempotency.key(&identity, body.raw());
    let sent = body.into_inner();
    for Object(task) in &sent.tasks {
        gate.may_enqueue(&identity, &task.task_type)?;
    }
    let tasks = admit_all(&gate, sent, &identity).map_err(Error::Invalid)?;

    let budget = gate.mail_budget(&identity, tasks.iter().map(|task| task.task_type.as_str()))?;
    let told = match (budget, key) {
        (None, None) => Told { answer: render_all(&desk.ask(EnqueueTasks(tasks)).await?)?, replayed: false },
        (None, Some(key)) => {
            desk.ask(EnqueueOnce { key, work: Replayable { tasks, render: render_all } }).await?
        }
        (Some(budget), key) => {
            let work = Replayable { tasks, render: render_all };
            desk.ask(EnqueueMails { budget, key, work }).await?
        }
    };
    Ok(respond_with(told.answer, told.replayed, |body| LargeBody::new(body, permit)))
}

fn admit(gate: &Intake, sent: TaskCreation, identity: &Identity) -> Result<NewTask, Vec<Violation>> {
    // A key is judged by the present role of its owner. Whatever is out of range is reported as that.
    let reserved =
        sent.priority.is_some_and(|priority| (1..=100).contains(&priority)) && !identity.is_admin();
    let admitted = gate.admit(sent.into(), Some(identity.user.id), telemetry::request_id().as_deref());
    if reserved {
        let violation = Violation::new("/priority", "admins_only", "above 0 only for administrators");
        return Err(admitted.err().into_iter().flatten().chain([violation]).collect());
    }

    admitted
}

fn admit_all(gate: &Intake, sent: TaskBatch, identity: &Identity) -> Result<Vec<NewTask>, Vec<Violation>> {
    if !(1..=MAX_BATCH).contains(&sent.tasks.len()) {
        return Err(vec![Violation::new("/tasks", "out_of_range", "1 to 1000 tasks")]);
    }
    let (mut tasks, mut wrong) = (Vec::with_capacity(sent.tasks.len()), Vec::new());
    for (n, Object(task)) in sent.tasks.into_iter().enumerate() {
        match admit(gate, task, identity) {
            Ok(task) => tasks.push(task),
            Err(violations) => {
                wrong.extend(violations.into_iter().map(|violation| violation.under(&format!("/tasks/{n}"))));
            }
        }
    }
    if wrong.is_empty() { Ok(tasks) } else { Err(wrong) }
}

fn render_one(enqueued: &[Enqueued]) -> Result<Answer> {
    let Some(one) = enqueued.first() else { return Err(Error::internal("no task was enqueued")) };
    let location = one.is_new.then(|| format!("/api/v1/tasks/{}", one.task.id));
    let body = serde_json::to_vec(&*one.task).map_err(Error::internal)?;
    Ok(Answer {
        status: if one.is_new { 201 } else { 200 },
        location,
        body,
        sealed: false,
        tasks: vec![one.task.id],
    })
}

fn render_all(enqueued: &[Enqueued]) -> Result<Answer> {
    let items = TaskItems { items: enqueued.iter().map(|one| &*one.task).collect() };
    let body = serde_json::to_vec(&items).map_err(Error::internal)?;
    let tasks = enqueued.iter().map(|one| one.task.id).collect();
    Ok(Answer { status: 201, location: None, body, sealed: false, tasks })
}
