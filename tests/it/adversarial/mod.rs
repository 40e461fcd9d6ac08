//! The adversarial cases of the security research that no other test shows; docs/adversarial.md tells which test shows
//! which case.

mod doors;
pub(crate) mod people;
mod proxies;
mod tokens;
mod wire;

use crate::support::people::{NOBODY, OTHER, refused};
