//! `GET /api/v1/tasks/events`: Server-Sent Events (WHATWG HTML, section 9.2).

use std::{convert::Infallible, fmt::Write, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, header},
    web::{self, Bytes},
};
use futures_util::{Stream, stream::unfold};
use tokio::time::{Instant, timeout};

use crate::{
    actors::{
        api_keys::{ApiKeyVerifier, VerifyKey},
        live::Live,
        sessions::{ResolveSession, SessionStore},
        task_events::{Listen, Listening, News, TaskEvents},
    },
    domain::{Action, Credential, Error, Result, task_event::Bookmark},
    endpoint,
    http::{Draining, Endpoint, Identity, Problem},
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![endpoint!(events, Action::ReadTasks)]
}

/// How often it is seen whether the process stops.
const TICK: Duration = Duration::from_secs(1);
/// How often it is seen whether the credential is still good.
const RECHECK: Duration = Duration::from_secs(15);
/// Events in one chunk.
const AT_ONCE: usize = 32;

/// Every change of the caller's tasks, of everybody's for an admin, as Server-Sent Events.
///
/// The first event is `ready`; then each `task` event has the task's `id`, `task_type`, `queue`, `status`, `attempt`,
/// `progress`, `created_by` and `at` as its data. Come back with the last event's id in `Last-Event-ID` within 50 minutes, and
/// nothing is missed, though something may be told twice; later, or with an id of elsewhere, the first event is `reset` and
/// you have to list the tasks anew. The stream ends when the credential does, or when the client reads nothing for a minute. A
/// user may have ten at once (429 `quota_exceeded`).
#[utoipa::path(
    get,
    path = "/api/v1/tasks/events",
    tag = "tasks",
    security(("bearer" = [])),
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was received")),
    responses((status = 200, description = "The stream", body = String, content_type = "text/event-stream"))
)]
async fn events(
    identity: Identity,
    request: HttpRequest,
    feed: web::Data<Live<TaskEvents>>,
) -> Result<HttpResponse, Problem> {
    let after = bookmark(&request);
    let mut answer = HttpResponse::Ok();
    answer.content_type("text/event-stream").insert_header(("x-accel-buffering", "no"));
    if request.method() == Method::HEAD {
        return Ok(answer.finish());
    }
    let told = feed.ask(Listen { reach: identity.reach(), after, user: identity.user.id }).await?;
    Ok(answer.streaming(stream(Ear { told, identity, request, rechecked: Instant::now() })))
}

/// What is no bookmark of ours is one that nobody knows: an error would keep an `EventSource` away for good, which sends the
/// last id it saw, wherever that came from.
fn bookmark(request: &HttpRequest) -> Option<Bookmark> {
    let line = request.headers().get(header::HeaderName::from_static("last-event-id"));
    let text = line.map(|line| line.to_str().unwrap_or("?")).filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or(Bookmark::UNKNOWN))
}

/// One client's end.
struct Ear {
    told: Listening,
    identity: Identity,
    request: HttpRequest,
    rechecked: Instant,
}

fn stream(ear: Ear) -> impl Stream<Item = Result<Bytes, Infallible>> {
    unfold(ear, |mut ear| async move {
        let chunk = ear.next().await?;
        Some((Ok(chunk), ear))
    })
}

impl Ear {
    /// `None` when the stream ends.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.is_over().await {
                return None;
            }
            let Ok(first) = timeout(TICK, self.told.recv()).await else { continue };
            let mut chunk = String::new();
            write(&mut chunk, &first?);
            for _ in 1..AT_ONCE {
                match self.told.try_recv() {
                    Some(news) => write(&mut chunk, &news),
                    None => break,
                }
            }
            return Some(chunk.into());
        }
    }

    async fn is_over(&mut self) -> bool {
        if self.request.app_data::<web::Data<Draining>>().is_some_and(|draining| draining.has_begun()) {
            return true;
        }
        if self.rechecked.elapsed() < RECHECK {
            return false;
        }
        self.rechecked = Instant::now();
        // When nobody can tell, the next time has to do.
        matches!(
            self.recheck().await,
            Err(Error::Unauthenticated { .. } | Error::Forbidden | Error::InsufficientScope)
        )
    }

    /// The caller is still the one that he was, and may do what he does.
    async fn recheck(&self) -> Result<()> {
        let hash = self.identity.hash;
        let caller = match self.identity.credential {
            Credential::Session { .. } => {
                let Some(store) = self.request.app_data::<web::Data<Live<SessionStore>>>() else {
                    return Ok(());
                };
                store.ask(ResolveSession { hash }).await?
            }
            Credential::ApiKey { .. } => {
                let Some(keys) = self.request.app_data::<web::Data<Live<ApiKeyVerifier>>>() else {
                    return Ok(());
                };
                keys.ask(VerifyKey { hash }).await?
            }
        };
        caller.may(Action::ReadTasks)?;
        if caller.reach() == self.identity.reach() { Ok(()) } else { Err(Error::Forbidden) }
    }
}

fn write(chunk: &mut String, news: &News) {
    let id = news.bookmark();
    // Writing to a string cannot fail.
    let _ = match news {
        News::Ready(_) => write!(chunk, "event: ready\nid: {id}\ndata: {{}}\n\n"),
        News::Reset(_) => write!(chunk, "event: reset\nid: {id}\ndata: {{}}\n\n"),
        // Without data it is no event, but the client remembers the id.
        News::Still(_) => write!(chunk, ":\nid: {id}\n\n"),
        News::Happened(_, event) => {
            let data = serde_json::to_string(event).unwrap_or_default();
            write!(chunk, "event: task\nid: {id}\ndata: {data}\n\n")
        }
    };
}
