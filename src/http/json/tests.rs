//! What is taken, what is refused, and what a refusal says.

use actix_web::{http::StatusCode, test::TestRequest};
use proptest::prelude::*;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    read::{holds_nul, parse},
    *,
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only that they are read matters")]
struct Guest {
    name: String,
    email: String,
    #[serde(default)]
    age: Option<i64>,
    #[serde(default)]
    kind: Option<Kind>,
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pets: Vec<Object<Pet>>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Friend,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only that it is read matters")]
struct Pet {
    legs: i64,
}

fn document(body: impl AsRef<[u8]>) -> serde_json::Value {
    let problem = parse::<Guest>(body.as_ref()).expect_err("refused");
    serde_json::to_value(problem.document(None)).unwrap()
}

fn refusal(body: impl AsRef<[u8]>) -> (u64, String) {
    let document = document(body);
    (document["status"].as_u64().unwrap(), document["detail"].as_str().unwrap().to_owned())
}

#[test]
fn what_is_not_an_object_is_malformed() {
    for body in
        ["", "  ", "null", "1", "[]", r#"["a","b"]"#, "\u{feff}{}", "{", r#"{"name":"#, "{}x", "nonsense"]
    {
        assert_eq!(refusal(body).0, 400, "{body:?}");
    }
    assert_eq!(refusal(b"{\"name\":\"\xff\",\"email\":\"\"}").0, 400);
    assert_eq!(refusal(br#"{"name":"\ud800","email":""}"#).0, 400);
    assert_eq!(refusal("[".repeat(100_000)).0, 400);
    assert_eq!(refusal(format!("{{\"pets\":{}", "[".repeat(100_000))).0, 400);
}

#[test]
fn a_wrong_type_is_malformed_and_the_field_is_named() {
    let told = "The field `/email` has the wrong JSON type.";
    for value in ["1", "null", "[]", "{}", "true"] {
        assert_eq!(refusal(format!(r#"{{"name":"a","email":{value}}}"#)), (400, told.to_owned()));
    }
    let (status, detail) = refusal(r#"{"name":"a","email":"b","age":"12"}"#);
    assert_eq!((status, detail.as_str()), (400, "The field `/age` has the wrong JSON type."));
    for number in ["1.5", "1e999", "99999999999999999999", "NaN"] {
        assert_eq!(refusal(format!(r#"{{"name":"a","email":"b","age":{number}}}"#)).0, 400, "{number}");
    }
}

/// Clients with models send null for what nobody set, and the OpenAPI document lets them.
#[test]
fn null_is_absent_where_a_field_may_be_absent() {
    let guest = parse::<Guest>(br#"{"name":"a","email":"b","age":null,"kind":null}"#).unwrap();
    assert!(guest.age.is_none() && guest.kind.is_none());
}

#[test]
fn an_unknown_field_is_malformed_and_not_repeated() {
    let (status, detail) = refusal(r#"{"name":"a","email":"b","is_admin":true}"#);
    assert_eq!(status, 400);
    assert_eq!(detail, "Unknown field in the body. Known are: name, email, age, kind, pets.");
    let (_, detail) = refusal(r#"{"name":"a","email":"b","pets":[{"legs":4},{"wings":2}]}"#);
    assert_eq!(detail, "Unknown field in the field `/pets/1`. Known are: legs.");
}

#[test]
fn a_field_given_twice_is_malformed() {
    assert_eq!(
        refusal(r#"{"name":"a","email":"b","name":"c"}"#),
        (400, "The field `/name` is there twice.".to_owned())
    );
}

#[test]
fn a_positional_array_is_no_object_at_any_depth() {
    assert_eq!(refusal(r#"["a","b",null,null,[]]"#).0, 400);
    assert_eq!(
        refusal(r#"{"name":"a","email":"b","pets":[[4]]}"#),
        (400, "The field `/pets/0` has the wrong JSON type.".to_owned())
    );
}

#[test]
fn every_missing_field_is_named() {
    let document = document(r#"{"age":3}"#);
    assert_eq!(document["status"], 422);
    assert_eq!(
        document["errors"],
        serde_json::json!([
            {"field": "/name", "code": "required", "message": "must be given"},
            {"field": "/email", "code": "required", "message": "must be given"},
        ])
    );
    let nested = self::document(r#"{"name":"a","email":"b","pets":[{}]}"#);
    assert_eq!(nested["errors"][0]["field"], "/pets/0/legs");
}

#[test]
fn a_value_outside_of_an_enumeration_breaks_a_rule() {
    let document = document(r#"{"name":"a","email":"b","kind":"SECRET"}"#);
    assert_eq!(document["status"], 422);
    assert_eq!(document["errors"][0]["field"], "/kind");
    assert!(!document.to_string().contains("SECRET"), "{document}");
}

#[test]
fn nul_is_refused_in_values_and_in_keys_however_deep() {
    for body in [
        r#"{"name":"a\u0000","email":"b"}"#,
        r#"{"na\u0000me":"a","email":"b"}"#,
        r#"{"name":"a","email":"\\\u0000"}"#,
    ] {
        assert_eq!(refusal(body), (400, "The body holds the character U+0000.".to_owned()), "{body}");
    }
    assert_eq!(refusal(b"{\"name\":\"\0\",\"email\":\"\"}").0, 400);
    assert_eq!(parse::<Guest>(br#"{"name":"\\u0000","email":"b"}"#).unwrap().name, r"\u0000");
}

#[test]
fn content_types_and_encodings() {
    let accepted = |name, value| {
        let request = TestRequest::default().insert_header(("content-type", "application/json"));
        let request = request.insert_header((name, value)).to_http_request();
        check_head(request.headers(), 100).is_ok()
    };
    for good in [
        "application/json",
        "APPLICATION/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=\"UTF-8\"",
        "application/json; charset=utf8",
        "application/json; charset=UTF8",
    ] {
        assert!(accepted("content-type", good), "{good}");
    }
    for bad in [
        "text/plain",
        "application/json; charset=utf-16",
        "application/jsonp",
        "",
        "application/problem+json",
    ] {
        assert!(!accepted("content-type", bad), "{bad}");
    }
    assert!(accepted("content-encoding", "Identity"));
    assert!(!accepted("content-encoding", "gzip"));
    assert!(!accepted("content-encoding", "identity, gzip"));
}

#[actix_web::test]
async fn a_body_above_the_limit_is_refused_declared_or_not() {
    for declared in [true, false] {
        let request = TestRequest::default()
            .insert_header(("content-type", "application/json"))
            .app_data(BodyRules { limit: 10, patience: Duration::from_secs(9) })
            .set_payload(r#"{"name":"0123456789"}"#);
        let (request, mut payload) = request.to_http_parts();
        let mut request = request;
        if !declared {
            request = TestRequest::default()
                .insert_header(("content-type", "application/json"))
                .app_data(BodyRules { limit: 10, patience: Duration::from_secs(9) })
                .to_http_request();
        }
        let problem = Json::<Guest>::from_request(&request, &mut payload).await.unwrap_err();
        assert_eq!(
            actix_web::ResponseError::status_code(&problem),
            StatusCode::PAYLOAD_TOO_LARGE,
            "declared: {declared}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_refusal_repeats_what_was_sent(key in "[a-z]{9,12}", value in "[A-Z]{9,12}") {
        for body in [
            format!(r#"{{"name":"a","email":"b","{key}":"{value}"}}"#),
            format!(r#"{{"name":"a","email":["{value}"]}}"#),
            format!(r#"{{"name":"a","email":"b","kind":"{value}"}}"#),
            format!(r#"{{"name":"a","email":"b","pets":[{{"{key}":1}}]}}"#),
            format!(r#"{{"name":"a","email":"b","age":"{value}"}}"#),
            format!(r#"{{"{key}":{value}"#),
        ] {
            let document = document(&body).to_string();
            prop_assert!(!document.contains(&key), "{} in {}", key, document);
            prop_assert!(!document.contains(&value), "{} in {}", value, document);
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse::<Guest>(&raw);
        let mut object = b"{".to_vec();
        object.extend(raw);
        let _ = parse::<Guest>(&object);
    }

    #[test]
    fn nul_is_found_exactly_when_it_is_there(text in any::<String>(), more in "[\\\\u0]{0,12}") {
        let text = format!("{text}{more}");
        let raw = serde_json::to_vec(&serde_json::json!({ "a": text })).unwrap();
        prop_assert_eq!(holds_nul(&raw), text.contains('\0'));
    }
}
