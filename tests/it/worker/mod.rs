//! The worker: real tasks, a real database, the real actor.

mod begun;
mod claims;
mod files;
mod late;
mod lease;
mod life;
mod model;
mod outside;
mod plans;
mod strays;
mod traffic;
mod upkeep;
mod vacuum;
mod workshop;
