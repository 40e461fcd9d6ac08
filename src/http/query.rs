//! Query strings: only the parameters that the route documents, each once, in UTF-8.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    future::{Ready, ready},
};

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::domain::Error;

/// Extracts the query string.
///
/// `T` derives `Deserialize` and `IntoParams`, with `#[serde(deny_unknown_fields)]` and
/// `#[into_params(parameter_in = Query)]`; its fields are `Option`s.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(parse(request.query_string()).map(Self))
    }
}

fn parse<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    names(query)?;
    web::Query::from_query(query)
        .map(web::Query::into_inner)
        .map_err(|_| malformed("A query parameter is unknown or has a wrong type."))
}

/// Refuses what is not among the documented parameters of a route.
pub(super) fn check_names(query: &str, known: &BTreeSet<String>) -> Result<(), Problem> {
    if names(query)?.iter().all(|name| known.contains(name.as_ref())) {
        return Ok(());
    }
    let known: Vec<_> = known.iter().map(String::as_str).collect();
    Err(malformed(match known.as_slice() {
        [] => Cow::Borrowed("This takes no query parameters."),
        known => Cow::Owned(format!("Unknown query parameter. Known are: {}.", known.join(", "))),
    }))
}

/// The names of the parameters, when each is there once and all is text without U+0000.
fn names(query: &str) -> Result<BTreeSet<Cow<'_, str>>, Problem> {
    let mut names = BTreeSet::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !is_text(value) || !is_text(name) {
            return Err(malformed("The query string is not UTF-8, or holds the character U+0000."));
        }
        let Some((name, _)) = form_urlencoded::parse(pair.as_bytes()).next() else { continue };
        if !names.insert(name) {
            return Err(malformed("A query parameter is there twice."));
        }
    }
    Ok(names)
}

fn is_text(encoded: &str) -> bool {
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(encoded).collect();
    std::str::from_utf8(&decoded).is_ok_and(|text| !text.contains('\0'))
}

fn malformed(why: impl Into<Cow<'static, str>>) -> Problem {
    Error::malformed(why).into()
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError;
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Page {
        limit: Option<i64>,
        q: Option<String>,
        is_active: Option<bool>,
    }

    fn status(query: &str) -> u16 {
        parse::<Page>(query).map_or_else(|problem| problem.status_code().as_u16(), |_| 200)
    }

    #[test]
    fn documented_parameters_are_read() {
        let page: Page = parse("limit=-3&q=a%20b+c%C3%A9&is_active=true").unwrap();
        assert_eq!((page.limit, page.q.as_deref(), page.is_active), (Some(-3), Some("a b cé"), Some(true)));
        assert_eq!(status(""), 200);
    }

    #[test]
    fn what_is_unknown_double_or_of_the_wrong_type_is_malformed() {
        for query in [
            "x=1",
            "limit=1&limit=2",
            "limit=1&%6cimit=2",
            "limit=a",
            "limit=",
            "limit=1.5",
            "is_active=1",
            "q=%00",
            "q=%ff",
            "%00=1",
            "limit",
        ] {
            assert_eq!(status(query), 400, "{query}");
        }
    }

    #[test]
    fn a_route_without_parameters_takes_none() {
        let none = BTreeSet::new();
        assert!(check_names("", &none).is_ok());
        assert!(check_names("x=1", &none).is_err());
        let known = BTreeSet::from(["limit".to_owned()]);
        assert!(check_names("limit=1", &known).is_ok());
        assert!(check_names("limit=1&offset=2", &known).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn nothing_makes_the_reader_panic(query in ".{0,60}") {
            let _ = parse::<Page>(&query);
        }
    }
}
