//! JSON between the domain and the database as text, never as a value: nothing is parsed, and nothing can fail for what is
//! in it.

use std::io::Write as _;

use diesel::{
    deserialize::{self, FromSql, FromSqlRow},
    expression::AsExpression,
    pg::{Pg, PgValue},
    serialize::{self, IsNull, Output, ToSql},
    sql_types::{Json, Jsonb},
};

use crate::domain::{Error, JsonText, Result};

/// A `json` or `jsonb` column as its text.
#[derive(Debug, FromSqlRow)]
pub(super) struct Stored(String);

impl Stored {
    /// Returns the text as JSON.
    ///
    /// # Errors
    /// [`Error::Internal`] for text that PostgreSQL takes for JSON and we do not.
    pub(super) fn read(self) -> Result<JsonText> {
        JsonText::read(self.0).ok_or_else(|| Error::internal("a stored value is not JSON"))
    }
}

impl FromSql<Json, Pg> for Stored {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(std::str::from_utf8(value.as_bytes())?.to_owned()))
    }
}

impl FromSql<Jsonb, Pg> for Stored {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        // The first byte is the version of the format; there is one.
        let text = value.as_bytes().strip_prefix(&[1]).ok_or("an unknown format of jsonb")?;
        Ok(Self(std::str::from_utf8(text)?.to_owned()))
    }
}

/// JSON on its way to a `json` column.
#[derive(Debug, Clone, Copy, AsExpression)]
#[diesel(sql_type = Json)]
pub(super) struct Written<'a>(pub(super) &'a JsonText);

impl ToSql<Json, Pg> for Written<'_> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(self.0.as_str().as_bytes())?;
        Ok(IsNull::No)
    }
}
