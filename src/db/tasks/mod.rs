//! Tasks: everything about them that is not a worker's.

mod insert;
mod row;

pub use insert::insert;
