//! The limits that the OpenAPI document states are those that the server holds: no client is refused for what the document
//! allows, and none is taken by surprise.

use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::{
    openapi::{document, operations},
    support::site::{Site, Told, read},
};

/// The schema of the body of an operation.
fn body_of<'a>(document: &'a Value, operation: &'a Value) -> Option<&'a Value> {
    let mut schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    if let Some(any) = schema["oneOf"].as_array() {
        schema = any.iter().find(|one| one["type"] != "null")?;
    }
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.strip_prefix('#')?),
        None => schema["properties"].is_object().then_some(schema),
    }
}

/// A value that the server takes for a field that has to be there.
fn good(field: &str) -> Value {
    match field {
        "email" => json!("someone@example.com"),
        "cron" => json!("0 3 * * *"),
        "task_type" => json!("noop"),
        "permissions" => json!([]),
        "tasks" => json!([{"task_type": "noop"}]),
        "password" | "new_password" | "current_password" => json!("a quiet engine hums"),
        _ => json!("something"),
    }
}

/// The fields that an answer finds fault with.
fn faults(told: &Told) -> Vec<String> {
    if told.status == 422 { told.fields() } else { Vec::new() }
}

#[actix_rt::test]
async fn every_length_in_the_document_is_the_length_that_the_server_takes() {
    let site = Site::open().await;
    let (user, token) = site.log_in("boss", "admin").await;
    let document = document();
    let mut judged = 0;
    for (path, method, operation) in operations(&document) {
        let Some(schema) = body_of(&document, &operation) else { continue };
        let method: Method = method.to_uppercase().parse().unwrap();
        let path = path.replace("{id}", &user.0.to_string());
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let base: Map<String, Value> = required
            .iter()
            .map(|name| (name.as_str().unwrap().to_owned(), good(name.as_str().unwrap())))
            .collect();
        for (name, field) in schema["properties"].as_object().unwrap() {
            let Some(longest) = field["maxLength"].as_u64() else { continue };
            let ask = async |length: u64| {
                let mut body = base.clone();
                body.insert(name.clone(), json!("a".repeat(usize::try_from(length).unwrap())));
                read(site.request(method.clone(), &path, &token).json(&body)).await
            };
            let (place, pointer) = (format!("{method} {path} /{name}"), format!("/{name}"));
            let told = ask(longest + 1).await;
            // Some routes first look up the object, the one-time token or the current password.
            if [400, 403, 404].contains(&told.status) {
                continue;
            }
            judged += 1;
            assert!(faults(&told).contains(&pointer), "{place}: {longest} is not the limit: {told:?}");
            if ["name", "queue", "unique_key", "username"].contains(&name.as_str()) {
                let told = ask(longest).await;
                assert!(!faults(&told).contains(&pointer), "{place}: {longest} is too long: {told:?}");
            }
        }
    }
    assert!(judged >= 10, "only {judged} limits were looked at");
}

/// What answers always hold is required, or a client has to guard against a field that is never missing.
#[test]
fn what_answers_always_hold_is_required() {
    // Left out when there is nothing to say.
    let left_out = [("Problem", "errors"), ("Problem", "request_id"), ("Recent", "task_type")];
    let document = document();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        // Bodies of requests say so.
        if schema["additionalProperties"] == false {
            continue;
        }
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for field in schema["properties"].as_object().into_iter().flat_map(Map::keys) {
            let known = left_out.contains(&(name.as_str(), field.as_str()));
            assert!(known || required.contains(&json!(field)), "{name}.{field} is not required");
        }
    }
}
