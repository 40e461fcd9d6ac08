//! The `starter` binary.

fn main() -> std::process::ExitCode {
    starter::cli::run()
}
