//! What callers have a right to, beyond the matrix: by the type of a task, by the day, and what becomes of refusals.

mod denied;
mod mails;
mod types;
