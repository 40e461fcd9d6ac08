//! `/api/v1/tasks`: work that is done in the background.

mod create;
mod events;
mod read;
mod stats;

use actix_web::{HttpResponse, web};

#[cfg(feature = "bench-routes")]
pub(super) use create::TaskCreation;

use super::{Endpoint, Identity, Path, Problem, RequestOrigin};
use crate::{
    actors::{
        dispatcher::{CancelTask, DeleteTask, Intake, RetryTask, TaskDispatcher},
        live::Live,
    },
    domain::{Action, TaskId, audit::Actor, task::Task},
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
    params(("id" = TaskId, Path)),
    responses((status = 200, description = "The task as it is now", body = Task))
)]
async fn cancel(
    identity: Identity,
    id: Path<TaskId>,
    desk: Dispatcher,
    from: RequestOrigin,
) -> Result<web::Json<Task>, Problem> {
    identity.may(Action::WriteTasks)?;
    let (reach, by) = (identity.reach(), Actor::of(&identity, from.0));
    Ok(web::Json(desk.ask(CancelTask { id: id.0, reach, by }).await?))
}

/// Gives a task that failed or was cancelled all its attempts again, from now on.
#[utoipa::path(
    post,
    path = "/api/v1/tasks/{id}/retry",
    tag = "tasks",
    security(("bearer" = [])),
    params(("id" = TaskId, Path)),
    responses((status = 200, description = "The task as it is now", body = Task))
)]
async fn retry(
    identity: Identity,
    id: Path<TaskId>,
    desk: Dispatcher,
    from: RequestOrigin,
) -> Result<web::Json<Task>, Problem> {
    identity.may(Action::WriteTasks)?;
    let (reach, by) = (identity.reach(), Actor::of(&identity, from.0));
    Ok(web::Json(desk.ask(RetryTask { id: id.0, reach, by }).await?))
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
