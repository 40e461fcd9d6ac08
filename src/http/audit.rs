//! `/api/v1/audit`: who did what to whom.

use actix_web::web;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::{Endpoint, Identity, Problem, Query, Segment, accounts::Desk};
use crate::{
    actors::accounts::ListAudit,
    domain::{
        Action, Cursor, Error, Limit, Listing, Page, Result, UserId,
        audit::{Entry, Filter},
    },
    endpoint,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![endpoint!(list, Action::ReadAudit)]
}

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct AuditQuery {
    /// Of this user.
    #[param(value_type = Option<Uuid>)]
    actor: Option<String>,
    /// Of this action, such as `user.update`; with a dot at its end, of all that begin so: `user.`
    action: Option<String>,
    /// On the user, session, key or task of this id.
    #[param(value_type = Option<Uuid>)]
    target: Option<String>,
    /// Entries a page, 1 to 100; 20 without it.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl AuditQuery {
    fn listing(&self, reader: UserId) -> Listing {
        Listing::new("audit", reader)
            .filter("actor", self.actor.as_deref())
            .filter("action", self.action.as_deref())
            .filter("target", self.target.as_deref())
    }

    fn filter(&self) -> Result<Filter> {
        let id = |text: &String| {
            Uuid::read(text).ok_or_else(|| Error::malformed("The id in the query is not one."))
        };
        Ok(Filter {
            actor: self.actor.as_ref().map(id).transpose()?.map(UserId),
            action: self.action.clone(),
            target: self.target.as_ref().map(id).transpose()?,
        })
    }
}

/// The audit log, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/audit",
    tag = "audit",
    security(("bearer" = [])),
    params(AuditQuery),
    responses((status = 200, description = "One page", body = Page<Entry>))
)]
async fn list(
    identity: Identity,
    query: Query<AuditQuery>,
    desk: Desk,
) -> Result<web::Json<Page<Entry>>, Problem> {
    let listing = query.0.listing(identity.user.id);
    let limit = Limit::parse(query.0.limit.as_deref())?;
    let after = query.0.cursor.as_deref().map(|text| listing.open(text)).transpose()?;
    let entries = desk.ask(ListAudit { filter: query.0.filter()?, after, limit }).await?;
    let key = |entry: &Entry| Cursor { at: Some(entry.at), id: entry.id };
    Ok(web::Json(Page::new(entries, limit, &listing, key)))
}
