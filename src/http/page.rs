//! Lists: the two query parameters that every one takes.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::domain::{Cursor, Limit, Listing, Result};

/// Which part of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// Objects a page, 1 to 100; 20 without it.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl PageQuery {
    /// Where the page begins in `listing`, and how long it may be.
    ///
    /// # Errors
    /// `Invalid` for a limit out of range, `Malformed` for a limit that is no number or a cursor of another list.
    pub fn read(&self, listing: &Listing) -> Result<(Option<Cursor>, Limit)> {
        let limit = Limit::parse(self.limit.as_deref())?;
        let after = self.cursor.as_deref().map(|text| listing.open(text)).transpose()?;
        Ok((after, limit))
    }
}
