//! Panics are log records, like everything else that goes wrong.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    panic::PanicHookInfo,
};

/// Replaces the hook that prints panics by one that logs them.
pub(super) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = message(panic);
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            let backtrace = functions(&backtrace.to_string());
            log::error!(location, thread, backtrace; "panicked: {message}");
        } else {
            log::error!(location, thread; "panicked: {message}");
        }
    }));
}

/// The message when it is a constant of the program. One that was formatted may quote what the
/// program was working on, as those of string slicing and of `unwrap` do, and that may be a
/// password; the location has to do.
fn message(panic: &PanicHookInfo<'_>) -> &'static str {
    panic
        .payload()
        .downcast_ref::<&'static str>()
        .copied()
        .unwrap_or("message withheld, as it may hold secrets")
}

/// The functions of a backtrace, innermost first, without the files: those are paths of the
/// machine that built the program.
fn functions(backtrace: &str) -> String {
    let frames = backtrace.lines().map(str::trim).filter(|line| !line.starts_with("at "));
    let names = frames.map(|line| line.split_once(": ").map_or(line, |(_, name)| name));
    names.skip_while(|name| !name.contains("begin_unwind")).skip(1).collect::<Vec<_>>().join(" < ")
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    static SEEN: Mutex<Vec<&str>> = Mutex::new(Vec::new());

    #[test]
    fn a_backtrace_is_told_by_its_functions() {
        let backtrace = "   0: hook\n             at ./src/telemetry/panic.rs:15:25\n   1: __rustc::rust_begin_unwind\n\
                         2: inner\n             at /build/src/lib.rs:1:1\n   3: outer\n";
        assert_eq!(functions(backtrace), "inner < outer");
    }

    #[test]
    fn only_constant_messages_are_told() {
        // Other tests of this process may panic meanwhile: those are not for here.
        let (before, own) = (std::panic::take_hook(), std::thread::current().id());
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().id() == own {
                SEEN.lock().unwrap_or_else(PoisonError::into_inner).push(message(panic));
            } else {
                before(panic);
            }
        }));
        let text = String::from("hunter2é");
        let constant = std::panic::catch_unwind(|| panic!("a constant"));
        let formatted = std::panic::catch_unwind(|| text.split_at(8));
        drop(std::panic::take_hook());
        assert!(constant.is_err() && formatted.is_err());
        let seen = SEEN.lock().unwrap();
        assert_eq!(*seen, ["a constant", "message withheld, as it may hold secrets"]);
    }
}
