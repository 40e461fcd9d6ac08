//! The worker: real tasks, a real database, the real actor.

mod life;
mod upkeep;
mod workshop;
