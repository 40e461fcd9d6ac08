//! The documentation of the API, served by the API: works offline, loads nothing from anywhere else.

mod archive;

use std::sync::LazyLock;

use actix_web::{
    HttpResponse,
    http::header::{self, ContentEncoding, ContentType},
    web,
};
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED as SWAGGER_UI;

use super::{access::Access, endpoint::Endpoint, openapi, problem::Problem};
use crate::{domain::Error, endpoint};

/// What the page may load: its own scripts, styles and the document; icons are inside of the styles.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Made once, when first asked for.
static DOCUMENT: LazyLock<String> = LazyLock::new(openapi::document);

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint!(page, Access::Public),
        endpoint!(asset, Access::Public),
        endpoint!(document, Access::Public),
    ]
}

/// The documentation as a page to read and to try.
#[utoipa::path(
    get,
    path = "/api-docs",
    tag = "operations",
    responses((status = 200, description = "The page", body = String, content_type = "text/html"))
)]
async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::html())
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .body(include_str!("index.html"))
}

/// A script or a style sheet of the page.
#[utoipa::path(
    get,
    path = "/api-docs/assets/{file}",
    tag = "operations",
    params(("file" = String, Path, description = "As the page names it")),
    responses((status = 200, description = "The file"))
)]
async fn asset(file: web::Path<String>) -> Result<HttpResponse, Problem> {
    let mut answer = HttpResponse::Ok();
    answer.insert_header((header::CACHE_CONTROL, "public, max-age=3600"));
    if file.as_str() == "start.js" {
        return Ok(answer.content_type("text/javascript").body(include_str!("start.js")));
    }
    let (kind, path) = match file.as_str() {
        "swagger-ui.css" => ("text/css", "/dist/swagger-ui.css"),
        "swagger-ui-bundle.js" => ("text/javascript", "/dist/swagger-ui-bundle.js"),
        _ => return Err(Error::NotFound.into()),
    };
    let file = archive::gzipped(SWAGGER_UI, path).ok_or(Error::NotFound)?;
    // Every browser takes this encoding, and nobody else asks.
    Ok(answer.content_type(kind).insert_header(ContentEncoding::Gzip).body(file))
}

/// The OpenAPI 3.1 document of this API.
#[utoipa::path(
    get,
    path = "/api-docs/openapi.json",
    tag = "operations",
    responses((status = 200, description = "The document", body = serde_json::Value))
)]
async fn document() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(DOCUMENT.as_str())
}
