//! The `starter` binary.

/// Gives memory back after a peak, which the system's allocator does not: its arenas stay as large as they ever were.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    starter::cli::run()
}
