//! From texts to one section, by `envy`.

use std::collections::BTreeMap;

use super::{problem::Problems, section::Section};

/// Reads one section. What is wrong is reported, and its default stands in for it, so that the
/// other keys can still be looked at.
pub(super) fn section<S: Section>(values: &BTreeMap<String, String>, problems: &mut Problems<'_>) -> S {
    let section: S = envy::prefixed(S::PREFIX).from_iter(values.clone()).unwrap_or_else(|_| {
        // envy stops at the first mistake: ask it about each key alone.
        let mut good = values.clone();
        for key in S::keys() {
            let Some(value) = values.get(&key.variable) else { continue };
            let alone = [(key.variable.clone(), value.clone())];
            if let Err(error) = envy::prefixed(S::PREFIX).from_iter::<_, S>(alone) {
                problems.add(&key.variable, without_value(&error), key.allowed);
                good.remove(&key.variable);
            }
        }
        envy::prefixed(S::PREFIX).from_iter(good).unwrap_or_default()
    });
    for (key, outside) in S::keys().into_iter().zip(section.out_of_range()) {
        if outside {
            problems.add(&key.variable, "out of range", key.allowed);
        }
    }
    section
}

/// envy's message up to where it quotes the value, which may be a secret in the wrong place.
fn without_value(error: &envy::Error) -> String {
    let message = error.to_string();
    match message.split(" while parsing value").next().unwrap_or_default() {
        // What Rust says of its own types.
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "not a whole number".to_owned()
        }
        "number too large to fit in target type" => "too large".to_owned(),
        "number too small to fit in target type" => "too small".to_owned(),
        "provided string was not `true` or `false`" => "neither true nor false".to_owned(),
        other => other.to_owned(),
    }
}
