//! The adversarial cases of the security research that no other test shows; docs/adversarial.md tells which test shows
//! which case.

mod doors;
mod people;
mod proxies;
mod tokens;
mod wire;

use serde_json::Value;

use crate::support::{
    people::{NOBODY, OTHER, refused},
    site::Told,
};

/// Everything of an answer but what tells one request from another.
fn essence(told: &Told) -> (u16, Vec<(String, String)>, Value) {
    let mut body = told.json();
    body["request_id"] = Value::Null;
    let told_apart = |name: &str| ["date", "x-request-id"].contains(&name);
    let mut headers: Vec<_> = told
        .headers
        .iter()
        .filter(|(name, _)| !told_apart(name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    headers.sort();
    (told.status, headers, body)
}
