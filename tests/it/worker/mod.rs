//! The worker: real tasks, a real database, the real actor.

mod begun;
mod claims;
mod clocks;
mod files;
mod late;
mod lease;
mod life;
mod mail_tls;
mod model;
mod outside;
mod payloads;
mod plans;
mod receivers;
mod shares;
mod signers;
mod strays;
mod times;
mod traffic;
mod upkeep;
mod vacuum;
mod watched;
pub(crate) mod workshop;
