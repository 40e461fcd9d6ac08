//! `/api/v1/tasks`: work that is done in the background.

mod create;
mod events;
mod read;
mod stats;

use actix_web::{HttpResponse, web};

#[cfg(feature = "bench-routes")]
pub(super) use create::TaskCreation;

use super::{Endpoint, Idempotency, Identity, Path, Problem, RequestOrigin};
use crate::{
    actors::{
        dispatcher::{CancelTask, DeleteTask, Intake, RetryTask, TaskDispatcher},
        live::Live,
    },
    domain::{Action, Error, Result, TaskId, audit::Actor, idempotency::Answer, task::Task},
    endpoint,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let here = vec![endpoint!(cancel), endpoint!(retry), endpoint!(delete)];
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
    identity.may(Action::WriteTasks)?;
    let (reach, by) = (identity.reach(), Actor::of(&identity, from.0));
    let (under, at) = (idempotency.key(&identity, b""), desk.clone());
    let act = async move { as_it_is(&at.ask(CancelTask { id: id.0, reach, by }).await?) };
    idempotency.once(under, &desk, act).await
}

/// Gives a task that failed or was cancelled all its attempts again, from now on.
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
    desk: Dispatcher,
    from: RequestOrigin,
) -> Result<HttpResponse, Problem> {
    identity.may(Action::WriteTasks)?;
    let (reach, by) = (identity.reach(), Actor::of(&identity, from.0));
    let (under, at) = (idempotency.key(&identity, b""), desk.clone());
    let act = async move { as_it_is(&at.ask(RetryTask { id: id.0, reach, by }).await?) };
    idempotency.once(under, &desk, act).await
}

fn as_it_is(task: &Task) -> Result<Answer> {
    let body = serde_json::to_vec(task).map_err(Error::internal)?;
    Ok(Answer { status: 200, location: None, body, sealed: false })
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
    identity.may(Action::DeleteTasks)?;
    desk.ask(DeleteTask { id: id.0, by: Actor::of(&identity, from.0) }).await?;
    Ok(HttpResponse::NoContent().finish())
}
