//! `STARTER__AUTH__*`: sessions, passwords, log-in.

use super::{
    cores,
    problem::Problems,
    section::{Check, section},
    value::words,
};

section! {
    /// Sessions, passwords and log-in.
    pub struct Auth("AUTH") {
        /// A session unused for this long ends, seconds (7 days).
        /// Too short, and people log in all day; too long, and a stolen token lives on.
        pub session_idle_secs: u64 = 604_800 => 60..=31_536_000,

        /// A session ends this long after log-in whatever happens, seconds (30 days).
        pub session_absolute_secs: u64 = 2_592_000 => 60..=31_536_000,

        /// Remember verified sessions and keys in memory, for as long as no revocation can be missed.
        /// `false` asks the database on every request.
        pub cache: bool = true,

        /// Whether anyone may register: `open`, or `closed` (then 403 `registration_closed`).
        pub registration: Registration = Registration::Open,

        /// Shortest password, code points; at most 256 are taken.
        /// Below 8 is refused (NIST SP 800-63B); above 20 or so, people write them down.
        pub password_min_length: usize = 12 => 8..=256,

        /// Memory of one password hash, KiB (Argon2id).
        /// Less makes stolen hashes cheaper to guess (OWASP: 19456 with 2 iterations); each hash
        /// that runs at once needs this much.
        pub argon2_memory_kib: u32 = 19_456 => 8..=65_536,

        /// Passes over the memory of one password hash.
        pub argon2_iterations: u32 = 2 => 1..=10,

        /// Lanes of one password hash. Part of the hash's parameters; adds no threads.
        pub argon2_parallelism: u32 = 1 => 1..=4,

        /// Password hashes that run at once.
        /// More than there are cores makes every log-in slower; too few, and log-ins queue up to 503.
        pub argon2_threads: usize = cores() => 1..=256,

        /// Failed log-ins of one account within LOGIN_WINDOW_SECS that lock it.
        /// Too low, and anyone can lock out anyone by a few typing errors.
        pub login_max_failures: u32 = 10 => 1..=100_000,

        /// Window in which failed log-ins are counted, seconds.
        pub login_window_secs: u64 = 900 => 1..=86_400,

        /// How long a locked account refuses log-ins, seconds.
        pub login_lock_secs: u64 = 900 => 1..=86_400,
    }
}

words! {
    /// Whether anyone may register.
    pub enum Registration {
        /// Anyone may.
        Open = "open",
        /// Only admins make accounts.
        Closed = "closed",
    }
}

impl Check for Auth {
    fn check(&self, problems: &mut Problems<'_>) {
        if self.session_idle_secs > self.session_absolute_secs {
            problems.contradiction(
                &["STARTER__AUTH__SESSION_IDLE_SECS", "STARTER__AUTH__SESSION_ABSOLUTE_SECS"],
                "longer than STARTER__AUTH__SESSION_ABSOLUTE_SECS",
                "at most the absolute time-out",
            );
        }
        if self.argon2_memory_kib < 8 * self.argon2_parallelism {
            problems.contradiction(
                &["STARTER__AUTH__ARGON2_MEMORY_KIB", "STARTER__AUTH__ARGON2_PARALLELISM"],
                "too little for STARTER__AUTH__ARGON2_PARALLELISM lanes",
                "at least 8 KiB a lane (RFC 9106)",
            );
        }
    }
}
