//! `STARTER__WORKER__*`: running tasks.

use std::path::PathBuf;

use super::{
    problem::Problems,
    section::{Check, section},
};
use crate::domain::queue::QueueName;

section! {
    /// Running tasks.
    pub struct Worker("WORKER") {
        /// Tasks that run at once in this process.
        /// Up to half as many more run while one user has most of these and others wait. Above what the database pool and the handlers can bear, tasks only wait elsewhere.
        pub concurrency: usize = 16 => 1..=10_000,

        /// Queues to take tasks from, comma-separated.
        pub queues: Vec<String> = vec!["default".to_owned()],

        /// How often due tasks are looked for without a notification, milliseconds: the safety net beside LISTEN.
        /// Too small is load on an idle database; too big, and a lost notification delays tasks by as much.
        pub poll_interval_ms: u64 = 1_000 => 10..=3_600_000,

        /// How long a claimed task stays its worker's without a sign of life, seconds; renewed while it runs.
        /// Too short, and a pause of the process makes a task run twice; too long, and the tasks of a
        /// dead worker wait that long.
        pub lease_secs: u64 = 30 => 1..=86_400,

        /// Unfinished tasks that one user may have; past it, enqueueing answers 429 `quota_exceeded`.
        /// Administrators and the service itself are not limited. Too big, and one user fills the queue.
        pub max_unfinished_per_user: usize = 10_000 => 1..=100_000_000,

        /// Finished tasks older than this are deleted, hours (7 days).
        pub retention_hours: u64 = 168 => 0..=876_000,

        /// Largest payload of a task or schedule, bytes of its JSON text without white space; a larger one is 422.
        /// Many are in memory at once, so a larger limit costs memory.
        pub payload_limit_bytes: usize = 65_536 => 1_024..=16_777_216,

        /// Entries of the audit log older than this are deleted, hours (a year).
        pub audit_retention_hours: u64 = 8_760 => 1..=876_000,

        /// Task types that users who are no administrators may enqueue, comma-separated.
        /// `email.send` and `webhook.deliver` let every user have this service send what they like.
        pub user_task_types: Vec<String> = vec!["noop".to_owned()],

        /// Port of a small listener for health and metrics of `starter worker`, on the server's HOST; 0 picks one.
        pub health_port: Option<u16> = None,

        /// Directory that files made by tasks are kept in, such as the results of `report.users_csv`.
        /// Servers and workers must share it.
        pub files_dir: PathBuf = PathBuf::from(".starter/files"),
    }
}

impl Check for Worker {
    fn check(&self, problems: &mut Problems<'_>) {
        if !self.queues.iter().all(|name| QueueName::stored(name).is_ok()) {
            problems.add(
                "STARTER__WORKER__QUEUES",
                "not a list of queue names",
                "names of 1 to 64 of the letters a-z, digits, '-', '_' or '.', separated by commas",
            );
        }
    }
}
