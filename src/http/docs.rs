//! The documentation of the API, served by the API.

use std::sync::LazyLock;

use actix_web::{HttpResponse, http::header::ContentType};

use super::{endpoint::Endpoint, openapi};
use crate::endpoint;

/// Made once, when first asked for.
static DOCUMENT: LazyLock<String> = LazyLock::new(openapi::document);

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![endpoint!(openapi_json)]
}

/// The OpenAPI 3.1 document of this API.
#[utoipa::path(
    get,
    path = "/api-docs/openapi.json",
    tag = "operations",
    responses((status = 200, description = "The document", body = serde_json::Value))
)]
async fn openapi_json() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(DOCUMENT.as_str())
}
