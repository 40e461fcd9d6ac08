//! The world outside, as handlers see it.

/// What handlers may use of the world outside.
#[derive(Debug, Default)]
pub struct Services {}
