//! `/problems`: where the `type` of every problem document leads (RFC 9457, section 3.1.1).

use actix_web::web;

use super::{
    Access, Endpoint, Path, Problem, Segment,
    catalogue::{ALL, Kind},
};
use crate::{domain::Error, endpoint};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![endpoint!(list, Access::Public), endpoint!(show, Access::Public)]
}

/// Every kind of problem that this API answers with.
#[utoipa::path(
    get, path = "/problems", tag = "problems",
    responses((status = 200, description = "Every kind", body = Vec<Kind>))
)]
async fn list() -> web::Json<&'static [Kind]> {
    web::Json(ALL)
}

/// One kind of problem.
#[utoipa::path(
    get,
    path = "/problems/{code}",
    tag = "problems",
    params(("code" = String, Path, description = "The `code` of the problem")),
    responses((status = 200, description = "The kind with this code", body = Kind))
)]
async fn show(Path(kind): Path<Option<&'static Kind>>) -> Result<web::Json<&'static Kind>, Problem> {
    Ok(web::Json(kind.ok_or(Error::NotFound)?))
}

impl Segment for Option<&'static Kind> {
    fn read(text: &str) -> Option<Self> {
        Some(ALL.iter().find(|kind| kind.code == text))
    }
}
