//! `starter openapi`: the API's description, without a running server.

use super::{Outcome, Output};
use crate::http;

/// It is JSON with or without `--json`.
pub(super) fn run(output: &Output) -> Outcome {
    output.text(&http::openapi::document())
}
