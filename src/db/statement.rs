//! Statements whose text never changes, so that each connection prepares them once.
//!
//! diesel's query builder caches what it builds; its `sql_query` and `sql` do not, and PostgreSQL then parses and plans
//! anew every time. What the builder cannot say (`unnest` of several arrays, data-modifying `with`) is a [`Fixed`].
//!
//! After five runs PostgreSQL may settle on a plan that does not look at the arguments. Whoever writes a hot statement
//! here adds it to the guard in `tests/it/query_plans.rs`.

use std::marker::PhantomData;

use diesel::{
    QueryResult,
    pg::Pg,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    serialize::ToSql,
    sql_types::HasSqlType,
};

/// The text of a statement and the types that go in and come out.
pub(super) trait Fixed: 'static {
    /// With `$1`, `$2` …: in any order, each as often as needed.
    const SQL: &'static str;
    /// Plan it anew each time, from what the table is like then. For statements that take many rows at once, on a table
    /// that is empty now and full a minute later: a plan that was kept from the one is of no use for the other, and
    /// PostgreSQL keeps it until it next looks at the table. Costs a round trip and a fraction of a millisecond.
    const REPLAN: bool = false;
    /// Tuple of the arguments' SQL types.
    type Args: 'static;
    /// Tuple of the columns' SQL types; `()` when nothing comes back.
    type Row: 'static;
}

/// A [`Fixed`] with its arguments, ready for `RunQueryDsl`.
#[derive(Debug)]
pub(super) struct Statement<S, V> {
    values: V,
    _text: PhantomData<S>,
}

impl<S: Fixed, V: Values<S::Args>> Statement<S, V> {
    pub(super) fn with(values: V) -> Self {
        Self { values, _text: PhantomData }
    }
}

impl<S: Fixed, V> Query for Statement<S, V> {
    type SqlType = S::Row;
}

impl<S: Fixed, V> QueryId for Statement<S, V> {
    // The text and the types are the same whatever the arguments are.
    type QueryId = S;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<S: Fixed, V: Values<S::Args>> QueryFragment<Pg> for Statement<S, V> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        if S::REPLAN {
            out.unsafe_to_cache_prepared();
        }
        let mut pieces = S::SQL.split('$');
        out.push_sql(pieces.next().unwrap_or_default());
        // diesel numbers arguments in the order in which they are bound.
        let mut bound: Vec<usize> = Vec::new();
        for piece in pieces {
            let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
            let (number, text) = piece.split_at_checked(digits).unwrap_or(("", piece));
            match number.parse::<usize>().ok().and_then(|argument| argument.checked_sub(1)) {
                None => out.push_sql("$"),
                Some(argument) => match bound.iter().position(|known| *known == argument) {
                    Some(position) => out.push_sql(&format!("${}", position + 1)),
                    None => {
                        self.values.bind(argument, out.reborrow())?;
                        bound.push(argument);
                    }
                },
            }
            out.push_sql(text);
        }
        Ok(())
    }
}

fn unusable(why: &'static str) -> diesel::result::Error {
    diesel::result::Error::QueryBuilderError(why.into())
}

/// A tuple of values that fits a tuple of SQL types.
pub(super) trait Values<Types> {
    /// Hands over the value at `index`.
    fn bind<'b>(&'b self, index: usize, out: AstPass<'_, 'b, Pg>) -> QueryResult<()>;
}

impl Values<()> for () {
    fn bind<'b>(&'b self, _: usize, _: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        Err(diesel::result::Error::QueryBuilderError("a placeholder without a value".into()))
    }
}

macro_rules! values {
    ($($sql:ident $value:ident $index:tt),*) => {
        impl<$($sql, $value),*> Values<($($sql,)*)> for ($($value,)*)
        where
            $(Pg: HasSqlType<$sql>, $value: ToSql<$sql, Pg>,)*
        {
            fn bind<'b>(&'b self, index: usize, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
                match index {
                    $($index => out.push_bind_param::<$sql, $value>(&self.$index),)*
                    _ => Err(unusable("more placeholders than values")),
                }
            }
        }
    };
}

values!(S0 V0 0);
values!(S0 V0 0, S1 V1 1);
values!(S0 V0 0, S1 V1 1, S2 V2 2);
values!(S0 V0 0, S1 V1 1, S2 V2 2, S3 V3 3);
values!(S0 V0 0, S1 V1 1, S2 V2 2, S3 V3 3, S4 V4 4);
values!(S0 V0 0, S1 V1 1, S2 V2 2, S3 V3 3, S4 V4 4, S5 V5 5);
values!(S0 V0 0, S1 V1 1, S2 V2 2, S3 V3 3, S4 V4 4, S5 V5 5, S6 V6 6);
values!(S0 V0 0, S1 V1 1, S2 V2 2, S3 V3 3, S4 V4 4, S5 V5 5, S6 V6 6, S7 V7 7);
values!(S0 V0 0, S1 V1 1, S2 V2 2, S3 V3 3, S4 V4 4, S5 V5 5, S6 V6 6, S7 V7 7, S8 V8 8);
values!(S0 V0 0, S1 V1 1, S2 V2 2, S3 V3 3, S4 V4 4, S5 V5 5, S6 V6 6, S7 V7 7, S8 V8 8, S9 V9 9);
values!(S0 V0 0, S1 V1 1, S2 V2 2, S3 V3 3, S4 V4 4, S5 V5 5, S6 V6 6, S7 V7 7, S8 V8 8, S9 V9 9, S10 V10 10);
values!(S0 V0 0, S1 V1 1, S2 V2 2, S3 V3 3, S4 V4 4, S5 V5 5, S6 V6 6, S7 V7 7, S8 V8 8, S9 V9 9, S10 V10 10, S11 V11 11);
values!(S0 V0 0, S1 V1 1, S2 V2 2, S3 V3 3, S4 V4 4, S5 V5 5, S6 V6 6, S7 V7 7, S8 V8 8, S9 V9 9, S10 V10 10, S11 V11 11, S12 V12 12);
values!(S0 V0 0, S1 V1 1, S2 V2 2, S3 V3 3, S4 V4 4, S5 V5 5, S6 V6 6, S7 V7 7, S8 V8 8, S9 V9 9, S10 V10 10, S11 V11 11, S12 V12 12, S13 V13 13);

#[cfg(test)]
mod tests {
    use diesel::{
        debug_query,
        sql_types::{Integer, Text},
    };

    use super::*;

    struct Twice;

    impl Fixed for Twice {
        const SQL: &'static str = "select $1, upper($2) from t where a = $1 and b = $2 -- 100$";
        type Args = (Integer, Text);
        type Row = (Integer, Text);
    }

    #[test]
    fn an_argument_is_sent_once_however_often_the_text_names_it() {
        let statement = Statement::<Twice, _>::with((1, "x"));
        assert_eq!(
            debug_query::<Pg, _>(&statement).to_string(),
            format!("{} -- binds: [1, \"x\"]", Twice::SQL)
        );
    }

    #[test]
    fn arguments_may_be_named_in_any_order() {
        struct Backwards;
        impl Fixed for Backwards {
            const SQL: &'static str = "update t set b = $2 where a = $1 or b <> $2";
            type Args = (Integer, Text);
            type Row = ();
        }
        let statement = Statement::<Backwards, _>::with((1, "x"));
        assert_eq!(
            debug_query::<Pg, _>(&statement).to_string(),
            "update t set b = $1 where a = $2 or b <> $1 -- binds: [\"x\", 1]"
        );
    }

    #[test]
    fn statements_are_told_apart_by_their_text_and_not_by_their_values() {
        struct Other;
        impl Fixed for Other {
            const SQL: &'static str = "select $1";
            type Args = (Integer,);
            type Row = (Integer,);
        }
        let first = <Statement<Twice, (i32, &str)> as QueryId>::query_id();
        assert!(first.is_some());
        assert_eq!(first, <Statement<Twice, (i32, String)> as QueryId>::query_id());
        assert_ne!(first, <Statement<Other, (i32,)> as QueryId>::query_id());
    }
}
