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
            log::error!(location, thread, backtrace:%; "panicked: {message}");
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

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    static SEEN: Mutex<Vec<&str>> = Mutex::new(Vec::new());

    #[test]
    fn only_constant_messages_are_told() {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(|panic| {
            SEEN.lock().unwrap_or_else(PoisonError::into_inner).push(message(panic));
        }));
        let text = String::from("hunter2é");
        let constant = std::panic::catch_unwind(|| panic!("a constant"));
        let formatted = std::panic::catch_unwind(|| text.split_at(8));
        std::panic::set_hook(before);
        assert!(constant.is_err() && formatted.is_err());
        let seen = SEEN.lock().unwrap();
        assert_eq!(*seen, ["a constant", "message withheld, as it may hold secrets"]);
    }
}
