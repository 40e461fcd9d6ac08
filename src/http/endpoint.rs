//! The route table as data: one [`Endpoint`] a handler, made from the handler's own
//! `#[utoipa::path]`, from which both the routes and the OpenAPI document come. So no route is
//! undocumented, and nothing is documented that is not there.

use std::{collections::BTreeSet, sync::Arc};

use actix_web::{
    Error, HttpMessage, Route,
    body::BoxBody,
    dev::{ServiceRequest, ServiceResponse},
    guard,
    http::Method,
    middleware::{Next, from_fn},
    web::{self, ServiceConfig},
};
use utoipa::openapi::{
    RefOr, Schema,
    path::{HttpMethod, Operation, ParameterIn},
};

use super::{
    access::Access,
    bearer, denied,
    edge::{self, RouteSlot},
    problem::Problem,
    query,
};

/// One handler: where it is reached, how it is documented, what is special about it.
pub struct Endpoint {
    pub(super) method: HttpMethod,
    pub(super) path: String,
    pub(super) operation: Operation,
    pub(super) schemas: Vec<(String, RefOr<Schema>)>,
    parameters: BTreeSet<String>,
    takes_password: bool,
    access: Access,
    judges_content: bool,
    route: fn() -> Route,
}

/// An [`Endpoint`] from a handler that has a `#[utoipa::path]`, and who may reach it: an [`Action`](crate::domain::Action)
/// or an [`Access`].
#[macro_export]
macro_rules! endpoint {
    ($handler:ident, $access:expr) => {
        ::pastey::paste! {
            $crate::http::Endpoint::new::<[<__path_ $handler>]>($access, || ::actix_web::web::route().to($handler))
        }
    };
}

impl Endpoint {
    /// From the struct that `#[utoipa::path]` makes beside a handler, and the handler.
    #[doc(hidden)]
    pub fn new<P>(access: impl Into<Access>, route: fn() -> Route) -> Self
    where
        P: utoipa::Path + utoipa::__dev::SchemaReferences + for<'t> utoipa::__dev::Tags<'t>,
    {
        let mut operation = P::operation();
        operation.tags.get_or_insert_default().extend(P::tags().into_iter().map(str::to_owned));
        let mut schemas = Vec::new();
        P::schemas(&mut schemas);
        let parameters = operation.parameters.iter().flatten();
        let parameters = parameters
            .filter_map(|parameter| match parameter {
                RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query => {
                    Some(parameter.name.clone())
                }
                _ => None,
            })
            .collect();
        let method = P::methods().into_iter().next().unwrap_or(HttpMethod::Get);
        let access = access.into();
        Self {
            method,
            path: P::path(),
            operation,
            schemas,
            parameters,
            takes_password: false,
            access,
            judges_content: false,
            route,
        }
    }

    /// The body holds a password: small bodies only, and the stricter rate limit.
    #[must_use]
    pub fn taking_password(mut self) -> Self {
        self.takes_password = true;
        self
    }

    /// The handler asks for more rights, depending on what the request is about: its refusals are noted too.
    #[must_use]
    pub fn judging_content(mut self) -> Self {
        self.judges_content = true;
        self
    }

    /// The path as it is registered, with `{id}` for what varies.
    pub fn pattern(&self) -> &str {
        &self.path
    }

    /// Who may reach it.
    pub fn access(&self) -> Access {
        self.access
    }

    /// The method as requests name it.
    pub fn method(&self) -> Method {
        self.methods().swap_remove(0)
    }

    /// Whether the body holds a password.
    pub(super) fn takes_password(&self) -> bool {
        self.takes_password
    }

    /// The methods it answers: HEAD wherever GET.
    fn methods(&self) -> Vec<Method> {
        match self.method {
            HttpMethod::Get => vec![Method::GET, Method::HEAD],
            HttpMethod::Post => vec![Method::POST],
            HttpMethod::Put => vec![Method::PUT],
            HttpMethod::Delete => vec![Method::DELETE],
            HttpMethod::Options => vec![Method::OPTIONS],
            HttpMethod::Head => vec![Method::HEAD],
            HttpMethod::Patch => vec![Method::PATCH],
            HttpMethod::Trace => vec![Method::TRACE],
        }
    }

    fn route(self: &Arc<Self>) -> Route {
        let methods = self.methods();
        let endpoint = Arc::clone(self);
        (self.route)()
            .guard(guard::fn_guard(move |context| methods.contains(&context.head().method)))
            .wrap(from_fn(move |request, next| admit(Arc::clone(&endpoint), request, next)))
    }
}

/// The endpoint that a request was routed to, in the request's extensions.
#[derive(Clone)]
pub(super) struct Matched(Arc<Endpoint>);

impl Matched {
    pub(super) fn pattern(&self) -> &str {
        &self.0.path
    }

    pub(super) fn takes_password(&self) -> bool {
        self.0.takes_password
    }
}

/// What is checked once it is known which endpoint a request is for.
async fn admit(
    endpoint: Arc<Endpoint>,
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let matched = Matched(Arc::clone(&endpoint));
    if let Some(slot) = request.extensions().get::<RouteSlot>() {
        // A request is routed once: the slot is empty.
        let _ = slot.set(matched.clone());
    }
    request.extensions_mut().insert(matched);

    let is_api = endpoint.path.starts_with("/api/");
    if is_api {
        bearer::only(request.headers()).map_err(Problem::from)?;
    }
    if endpoint.takes_password {
        edge::limit_passwords(&request)?;
    }

    // The caller comes before all that the request says: strangers learn nothing of what a route takes. Extractors are
    // polled together, and one that is ready at once would answer first, so this is not left to them.
    let identity = endpoint.access.judge(&endpoint.path, &request).await.map_err(Problem::from)?;
    if is_api {
        query::check_names(request.query_string(), &endpoint.parameters)?;
    }
    let caller =
        identity.as_ref().filter(|_| endpoint.judges_content).map(|identity| Arc::clone(&identity.caller));
    if let Some(identity) = identity {
        request.extensions_mut().insert(identity);
    }
    let answer = next.call(request).await?;
    if let Some(caller) = caller {
        denied::note_answer(answer.request(), &endpoint.path, &caller, answer.response());
    }
    Ok(answer)
}

/// Registers the endpoints: one resource a path, so that another method is answered with 405.
pub(super) fn register(endpoints: &[Arc<Endpoint>], config: &mut ServiceConfig) {
    let mut paths: Vec<&str> = Vec::new();
    for endpoint in endpoints {
        if !paths.contains(&endpoint.pattern()) {
            paths.push(endpoint.pattern());
        }
    }
    // The first match wins: `/users/me` must not be taken for `/users/{id}`.
    paths.sort_by_key(|path| path.matches('{').count());
    for path in paths {
        let here = || endpoints.iter().filter(|endpoint| endpoint.path == path);
        let allowed: Vec<Method> = here().flat_map(|endpoint| endpoint.methods()).collect();
        let refuse = move || {
            let problem = Problem::MethodNotAllowed(allowed.clone());
            async move { Err::<String, _>(problem) }
        };
        let resource = here().fold(web::resource(path), |resource, each| resource.route(each.route()));
        config.service(resource.default_service(web::to(refuse)));
    }
}
