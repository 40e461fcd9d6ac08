//! `/api/v1/queues`: how full they are, pause and resume.

use actix_web::web;

use super::{Endpoint, Identity, Path, Problem, RequestOrigin};
use crate::{
    actors::{
        dispatcher::{ListQueues, PauseQueue, ResumeQueue, TaskDispatcher},
        live::Live,
    },
    domain::{
        Action, Page,
        audit::Actor,
        queue::{Queue, QueueName},
    },
    endpoint,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint!(list, Action::ReadQueues),
        endpoint!(pause, Action::WriteQueues),
        endpoint!(resume, Action::WriteQueues),
    ]
}

type Dispatcher = web::Data<Live<TaskDispatcher>>;

/// Every queue that has unfinished tasks or was paused once, by name.
#[utoipa::path(
    get,
    path = "/api/v1/queues",
    tag = "queues",
    security(("bearer" = [])),
    responses((status = 200, description = "All of them", body = Page<Queue>))
)]
async fn list(desk: Dispatcher) -> Result<web::Json<Page<Queue>>, Problem> {
    Ok(web::Json(Page { items: desk.ask(ListQueues).await?, next_cursor: None }))
}

/// Workers leave the queue alone from now on; what runs goes on. A queue need not be there to be paused.
#[utoipa::path(
    post,
    path = "/api/v1/queues/{name}/pause",
    tag = "queues",
    security(("bearer" = [])),
    params(("name" = String, Path, pattern = "^[a-z0-9_.-]{1,64}$")),
    responses((status = 200, description = "The queue as it is now", body = Queue))
)]
async fn pause(
    identity: Identity,
    name: Path<QueueName>,
    desk: Dispatcher,
    from: RequestOrigin,
) -> Result<web::Json<Queue>, Problem> {
    Ok(web::Json(desk.ask(PauseQueue { queue: name.0, by: Actor::of(&identity, from.0) }).await?))
}

/// Workers take from the queue again, at once.
#[utoipa::path(
    post,
    path = "/api/v1/queues/{name}/resume",
    tag = "queues",
    security(("bearer" = [])),
    params(("name" = String, Path, pattern = "^[a-z0-9_.-]{1,64}$")),
    responses((status = 200, description = "The queue as it is now", body = Queue))
)]
async fn resume(
    identity: Identity,
    name: Path<QueueName>,
    desk: Dispatcher,
    from: RequestOrigin,
) -> Result<web::Json<Queue>, Problem> {
    Ok(web::Json(desk.ask(ResumeQueue { queue: name.0, by: Actor::of(&identity, from.0) }).await?))
}
