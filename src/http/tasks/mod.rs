//! `/api/v1/tasks`: work that is done in the background.

mod create;
mod events;
mod read;
mod stats;

use actix::{Handler, Message};
use actix_web::{HttpResponse, web};

#[cfg(feature = "bench-routes")]
pub(super) use create::TaskCreation;

use super::{
    Endpoint, Identity, Path, Problem, RequestOrigin,
    idempotency::{AtRest, Idempotency},
};
use crate::{
    actors::{
        dispatcher::{CancelTask, DeleteTask, FindTask, Intake, RetryTask, TaskDispatcher},
        live::Live,
    },
    domain::{Action, Error, Result, TaskId, audit::Actor, idempotency::Answer, task::Task},
    endpoint,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let here = vec![
        endpoint!(cancel, Action::WriteTasks),
        endpoint!(retry, Action::WriteTasks).judging_content(),
        endpoint!(delete, Action::DeleteTasks),
    ];
    [create::endpoints(), read::endpoints(), stats::endpoints(), events::endpoints(), here]
        .into_iter()
        .flatten()
        .collect()
}

type Dispatcher = web::Data<Live<TaskDispatcher>>;
type Gate = web::Data<Intake>;

/// Calls a task off. One that waits is cancelled at once. One that runs is told to stop: it stays `running` until its
/// handler has heard it.
#[utoipa::path(
    post,
    path = "/api/v1/tasks/{id}/cancel",
    tag = "tasks",
    security(("bearer" = [])),
    params(
        ("id" = TaskId, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "The same request under the same key is carried out once and answered again, for 24 hours")
    ),
    responses((status = 200, description = "The task as it is now", body = Task))
)]
async fn cancel(
    identity: Identity,
    idempotency: Idempotency,
    id: Path<TaskId>,
    desk: Dispatcher,
    from: RequestOrigin,
) -> Result<HttpResponse, Problem> {
    let (reach, by) = (identity.reach(), Actor::of(&identity, from.0));
    act(&identity, &idempotency, &desk, CancelTask { id: id.0, reach, by }).await
}

/// Gives a task that failed or was cancelled all its attempts again, from now on. Takes what enqueueing its type takes.
#[utoipa::path(
    post,
    path = "/api/v1/tasks/{id}/retry",
    tag = "tasks",
    security(("bearer" = [])),
    params(
        ("id" = TaskId, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "The same request under the same key is carried out once and answered again, for 24 hours")
    ),
    responses((status = 200, description = "The task as it is now", body = Task))
)]
async fn retry(
    identity: Identity,
    idempotency: Idempotency,
    id: Path<TaskId>,
    (desk, gate): (Dispatcher, Gate),
    from: RequestOrigin,
) -> Result<HttpResponse, Problem> {
    let (reach, by) = (identity.reach(), Actor::of(&identity, from.0));

    // To run again is to be enqueued again. Its type never changes, so it may be asked for before.
    let task_type = desk.ask(FindTask { id: id.0, reach }).await?.task_type;
    gate.may_enqueue(&identity, &task_type)?;
    let budget = gate.mail_budget(&identity, [task_type.as_str()].into_iter())?;

    act(&identity, &idempotency, &desk, RetryTask { id: id.0, reach, budget, by }).await
}

async fn act<M>(
    identity: &Identity,
    idempotency: &Idempotency,
    desk: &Dispatcher,
    message: M,
) -> Result<HttpResponse, Problem>
where
    TaskDispatcher: Handler<M>,
    M: Message<Result = Result<Task>> + Send + 'static,
{
    let (under, at) = (idempotency.key(identity, b""), desk.clone());
    let act = async move {
        let task = at.ask(message).await?;
        let body = serde_json::to_vec(&task).map_err(Error::internal)?;
        Ok(Answer { status: 200, location: None, body, sealed: false, tasks: vec![task.id] })
    };
    idempotency.once(under, AtRest::Clear, desk, act).await
}

/// Deletes a task that has finished, with its attempts.
#[utoipa::path(
    delete,
    path = "/api/v1/tasks/{id}",
    tag = "tasks",
    security(("bearer" = [])),
    params(("id" = TaskId, Path)),
    responses((status = 204, description = "It is gone"))
)]
async fn delete(
    identity: Identity,
    id: Path<TaskId>,
    desk: Dispatcher,
    from: RequestOrigin,
) -> Result<HttpResponse, Problem> {
    desk.ask(DeleteTask { id: id.0, by: Actor::of(&identity, from.0) }).await?;
    Ok(HttpResponse::NoContent().finish())
}
