//! The adversarial cases of the security research that no other test shows; docs/adversarial.md tells which test shows
//! which case.

mod doors;
mod people;
mod proxies;
mod tokens;
mod wire;

use crate::support::people::{NOBODY, OTHER, refused};
