//! `/api/v1/tasks/{id}/file`: what a task made, for its owner.

use actix_web::{
    HttpResponse,
    body::SizedStream,
    http::header::{ContentDisposition, ContentType, DispositionParam, DispositionType},
    web::{self, Bytes},
};
use futures_util::stream;
use serde::Deserialize;
use tokio::{fs::File, io::AsyncReadExt as _};

use super::{Endpoint, Identity, Path, Problem};
use crate::{
    actors::{
        dispatcher::{FindTask, Intake, TaskDispatcher},
        live::Live,
        worker::Files,
    },
    domain::{Action, Error, TaskId, task::Task},
    endpoint,
};

/// Read and sent at once.
const CHUNK: usize = 64 * 1024;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![endpoint!(download, Action::ReadTasks).judging_content()]
}

/// The file that a task made: see its result. It is kept for as long as finished tasks are. `GET /api/v1/tasks/types`
/// shows what fetching it takes; its owner is judged by the role that they have now.
#[utoipa::path(
    get,
    path = "/api/v1/tasks/{id}/file",
    tag = "tasks",
    security(("bearer" = [])),
    params(("id" = TaskId, Path)),
    responses((status = 200, description = "The file", content_type = "text/csv", body = String))
)]
async fn download(
    identity: Identity,
    id: Path<TaskId>,
    desk: web::Data<Live<TaskDispatcher>>,
    files: web::Data<Files>,
    gate: web::Data<Intake>,
) -> Result<HttpResponse, Problem> {
    let task = desk.ask(FindTask { id: id.0, reach: identity.reach() }).await?;
    gate.may_fetch_file(&identity, &task.task_type)?;
    let name = file_name(&task).ok_or(Error::NotFound)?;
    let (file, length) = files.open(task.id).await.map_err(Error::internal)?.ok_or(Error::NotFound)?;
    let disposition = ContentDisposition {
        disposition: DispositionType::Attachment,
        parameters: vec![DispositionParam::Filename(name)],
    };
    Ok(HttpResponse::Ok()
        .insert_header(ContentType("text/csv; charset=utf-8".parse().map_err(Error::internal)?))
        .insert_header(disposition)
        .body(SizedStream::new(length, chunks(file))))
}

#[derive(Deserialize)]
struct FileResult {
    file: NamedFile,
}

#[derive(Deserialize)]
struct NamedFile {
    name: String,
}

/// As its result tells, if it made one.
fn file_name(task: &Task) -> Option<String> {
    let name = task.result.as_ref()?.parse::<FileResult>().ok()?.file.name;
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    plain.then_some(name)
}

fn chunks(file: File) -> impl stream::Stream<Item = std::io::Result<Bytes>> {
    stream::try_unfold(file, |mut file| async move {
        let mut chunk = Vec::with_capacity(CHUNK);
        let read = (&mut file).take(CHUNK as u64).read_to_end(&mut chunk).await?;
        Ok((read > 0).then(|| (Bytes::from(chunk), file)))
    })
}
