//! The document and the application say the same: every route is documented, and nothing else is.

use std::{
    collections::HashSet,
    fs,
    io::{Seek, Write},
    path::Path,
    process::Command,
};

use serde_json::Value;
use starter::http::{self, catalogue, openapi};

use crate::edge::{Edge, settings};

pub(crate) fn document() -> Value {
    serde_json::from_str(&openapi::document()).unwrap()
}

/// Path, method and description of each operation.
pub(crate) fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            let item = item.as_object().unwrap();
            item.iter().map(|(method, operation)| (path.clone(), method.clone(), operation.clone()))
        })
        .collect()
}

#[test]
fn every_documented_operation_is_answered_by_the_application() {
    let edge = Edge::start_with(settings(), http::routes);
    for (path, method, _) in operations(&document()) {
        let path = if path.starts_with("/api-docs/assets/") {
            path.replace("{file}", "start.js")
        } else {
            path.replace("{name}", "default")
                .replace("{code}", "not_found")
                .replace("{id}", "01920f3e-7b6c-7d3a-9c1e-0123456789ab")
        };
        assert!(!path.contains('{'), "{path}: an unknown parameter");
        let method = method.to_uppercase();
        let answer = edge.send(&format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"));
        assert!(![404, 405].contains(&answer.status), "{method} {path}: {answer:?}");
    }
}

#[test]
fn no_route_is_made_outside_of_the_table() {
    fn search(folder: &Path, broken: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                search(&path, broken);
                continue;
            }
            // These two make the resources of the table, and the static files of the console.
            // The benchmark's routes are no part of the API.
            let apart = ["http/endpoint.rs", "http/console.rs", "http/bench.rs"];
            if apart.iter().any(|name| path.ends_with(name)) {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for word in ["web::resource(", "web::scope(", ".service(", ".route(", "#[get(", "#[post("] {
                if text.contains(word) {
                    broken.push(format!("{}: {word}", path.display()));
                }
            }
        }
    }
    let mut broken = Vec::new();
    search(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http"), &mut broken);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn operations_have_a_summary_a_tag_and_an_id_of_their_own() {
    let mut ids = HashSet::new();
    for (path, method, operation) in operations(&document()) {
        let place = format!("{method} {path}");
        assert!(
            operation["summary"].is_string(),
            "{place} has no summary: write a doc comment on the handler"
        );
        assert!(operation["tags"][0].is_string(), "{place} has no tag");
        let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
        assert!(!id.is_empty() && ids.insert(id.clone()), "{place}: the operation id `{id}` is there twice");
    }
}

/// Generators refuse a document in which one is missing (OpenAPI 3.1, 4.8.17).
#[test]
fn every_response_is_described_and_every_operation_says_who_may_call_it() {
    let document = document();
    assert_eq!(document["servers"][0]["url"], "/");
    for (path, method, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let description = response["description"].as_str().unwrap_or_default();
            assert!(!description.is_empty(), "{method} {path} {status} has no description");
        }
        assert!(operation["security"].is_array(), "{method} {path} says nothing of who may call it");
    }
}

#[test]
fn parameters_are_where_the_document_says() {
    for (path, method, operation) in operations(&document()) {
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let in_path =
            |parameter: &Value| path.contains(&format!("{{{}}}", parameter["name"].as_str().unwrap()));
        for parameter in &parameters {
            assert_eq!(
                parameter["in"] == "path",
                in_path(parameter),
                "{method} {path}: {parameter}: #[into_params(parameter_in = Query)] may be missing"
            );
        }
        let documented = parameters.iter().filter(|parameter| in_path(parameter)).count();
        assert_eq!(documented, path.matches('{').count(), "{method} {path}: an undocumented path parameter");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => (),
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn the_page_loads_what_it_names_and_its_policy_lets_it() {
    let edge = Edge::start_with(settings(), http::routes);
    let page = edge.get("/api-docs");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    let text = page.text();
    assert!(!text.contains("http:") && !text.contains("https:"), "something from the network: {text}");
    let named: Vec<&str> =
        text.split('"').filter(|part| part.starts_with("/api-docs/") && part.contains('.')).collect();
    assert_eq!(named.len(), 4, "{named:?}");
    for path in named {
        let file = edge.get(path);
        assert_eq!(file.status, 200, "{path}");
        match file.header("content-encoding") {
            Some("gzip") => assert!(unzip(&file.body).len() > 100_000, "{path}"),
            encoding => assert_eq!((encoding, file.body.is_empty()), (None, false), "{path}"),
        }
    }
    assert_eq!(edge.get("/api-docs/assets/index.html").status, 404);
    assert_eq!(edge.get("/api-docs/assets/..%2fmod.rs").status, 404);
    let served: Value = edge.get("/api-docs/openapi.json").json();
    assert_eq!(served, document());
}

/// By the program of that name, which also checks the checksum.
fn unzip(bytes: &[u8]) -> Vec<u8> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    let output = Command::new("gzip").arg("-dc").stdin(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn the_manual_lists_every_code() {
    let manual = include_str!("../../docs/http.md");
    let (_, listed) = manual.split_once("| --- | --- | --- |\n").unwrap();
    let rows = catalogue::ALL
        .iter()
        .map(|kind| format!("| {} | `{}` | {} |\n", kind.status, kind.code, kind.detail));
    assert_eq!(listed, rows.collect::<String>());
}
