//! The OpenAPI 3.1 document, made of the route table.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Components, ComponentsBuilder, ContentBuilder, InfoBuilder, License, OpenApi, OpenApiBuilder,
        PathItem, PathsBuilder, Ref, RefOr, ResponseBuilder, Schema, Server,
        path::Operation,
        schema::{SchemaType, Type},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{endpoint::Endpoint, problem::Document};

/// The document of the whole API, as text.
pub fn document() -> String {
    of(&super::routes()).to_pretty_json().unwrap_or_default()
}

/// The document of these endpoints.
pub fn of(endpoints: &[Endpoint]) -> OpenApi {
    let paths = endpoints.iter().fold(PathsBuilder::new(), |paths, endpoint| {
        let operation = described(endpoint.operation.clone());
        paths.path(endpoint.path.clone(), PathItem::new(endpoint.method.clone(), operation))
    });
    let info = InfoBuilder::new()
        .title(env!("CARGO_PKG_NAME"))
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(env!("CARGO_PKG_DESCRIPTION")))
        .license(Some(License::new(env!("CARGO_PKG_LICENSE"))));
    OpenApiBuilder::new()
        .info(info.build())
        // Relative to where the document is fetched, so that it is true behind every public address.
        .servers(Some([Server::new("/")]))
        .paths(paths)
        .components(Some(components(endpoints)))
        .build()
}

/// What holds for every operation and is not written at each handler: how it fails, and an id that
/// no other operation has.
fn described(mut operation: Operation) -> Operation {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name(Document::name()))).build();
    let failure = ResponseBuilder::new()
        .description("Any error: a problem document (RFC 9457), told apart by its `code`.")
        .content("application/problem+json", problem);
    for parameter in operation.parameters.iter_mut().flatten() {
        // What is optional may be left out; a query or a header has no null.
        if let RefOr::T(parameter) = parameter
            && let Some(RefOr::T(schema)) = &mut parameter.schema
        {
            without_null(schema);
        }
    }
    operation.responses.responses.insert("default".to_owned(), RefOr::T(failure.build()));
    // Operations without a word about it are for anyone; without the empty list, a tool cannot see whether it was forgotten.
    operation.security.get_or_insert_default();
    let group = operation.tags.iter().flatten().next().map(|tag| tag.to_lowercase().replace([' ', '-'], "_"));
    if let (Some(group), Some(id)) = (group, &mut operation.operation_id) {
        *id = format!("{group}_{id}");
    }
    operation
}

fn without_null(schema: &mut Schema) {
    let Schema::Object(object) = schema else { return };
    if let SchemaType::Array(types) = &mut object.schema_type {
        types.retain(|one| *one != Type::Null);
        if let [one] = types.as_slice() {
            object.schema_type = SchemaType::Type(one.clone());
        }
    }
}

fn components(endpoints: &[Endpoint]) -> Components {
    let mut schemas = vec![(Document::name().into_owned(), Document::schema())];
    Document::schemas(&mut schemas);
    schemas.extend(endpoints.iter().flat_map(|endpoint| endpoint.schemas.iter().cloned()));
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A session token (`sess_…`) or an API key (`key_…`)."));
    ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .security_scheme("bearer", SecurityScheme::Http(bearer.build()))
        .build()
}
