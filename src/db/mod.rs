//! Statements and what they need: the only layer that names diesel, bb8 and tokio-postgres.

pub mod embedded;
