//! The dependency rule of `src/lib.rs`, read from the sources: in one crate the compiler does not enforce it.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A layer, and the words that its code may not contain.
const RULES: &[(&str, &[&str])] = &[
    (
        "domain",
        &[
            "actix",
            "diesel",
            "bb8",
            "tokio",
            "reqwest",
            "lettre",
            "crate::actors",
            "crate::cli",
            "crate::config",
            "crate::db",
            "crate::http",
            "crate::tasks",
            "std::env",
            "std::fs",
        ],
    ),
    (
        "config",
        &[
            "actix",
            "diesel",
            "bb8",
            "crate::actors",
            "crate::cli",
            "crate::db",
            "crate::http",
            "crate::tasks",
        ],
    ),
    (
        "tasks",
        &[
            "actix",
            "diesel",
            "bb8",
            "tokio_postgres",
            "crate::actors",
            "crate::cli",
            "crate::db",
            "crate::http",
            "std::env",
        ],
    ),
    ("db", &["actix", "crate::actors", "crate::cli", "crate::http", "crate::tasks", "StatusCode"]),
    (
        "actors",
        &[
            "actix_web",
            "diesel",
            "bb8",
            "tokio_postgres",
            "crate::cli",
            "crate::http",
            "StatusCode",
            "std::env",
        ],
    ),
    (
        "http",
        &[
            "diesel",
            "bb8",
            "tokio_postgres",
            "crate::cli",
            "crate::db",
            "impl Handler",
            "Context<",
            "std::env",
        ],
    ),
    ("cli", &["diesel", "bb8", "tokio_postgres", "impl Handler", "StatusCode"]),
];

/// Words that only one file or folder may contain.
const OWNED: &[(&str, &[&str])] =
    &[("do_send(", &["src/actors/live.rs"]), ("unsafe ", &[]), ("SystemService", &[])];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Lines of code with their numbers: comments and test modules at the foot left out.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(number, line)| (number + 1, line.split("//").next().unwrap_or_default().to_owned()))
        .collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn is_test_file(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "tests.rs")
}

#[test]
fn every_layer_keeps_to_its_words() {
    let mut broken = Vec::new();
    for (layer, forbidden) in RULES {
        for path in sources(&root().join("src").join(layer)).into_iter().filter(|path| !is_test_file(path)) {
            for (number, line) in code(&path) {
                for word in forbidden.iter().filter(|word| line.contains(**word)) {
                    broken.push(format!("{}:{number}: `{word}` in {layer}", path.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn what_belongs_to_one_file_stays_there() {
    let mut broken = Vec::new();
    for path in sources(&root().join("src")) {
        for (number, line) in code(&path) {
            for (word, owners) in OWNED {
                if line.contains(word) && !owners.iter().any(|owner| path.ends_with(owner)) {
                    broken.push(format!("{}:{number}: `{word}`", path.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_file_fits_in_a_head() {
    const GENERATED: &[&str] = &["src/db/schema.rs"];
    let mut long = Vec::new();
    for path in sources(&root().join("src")) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        if lines > 400 && !GENERATED.iter().any(|name| path.ends_with(name)) {
            long.push(format!("{}: {lines} lines", path.display()));
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}
