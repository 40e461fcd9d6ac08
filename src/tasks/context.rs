//! What an attempt is given.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Services;
use crate::domain::{TaskId, UserId};

/// What an attempt is given besides its payload.
#[derive(Debug, Clone)]
pub struct Context {
    /// The task.
    pub task_id: TaskId,
    /// The number of this attempt, from 1; snoozes and interruptions count here too.
    pub attempt: i32,
    /// The request that made the task; it logs under this.
    pub request_id: Option<Arc<str>>,
    /// Who enqueued it; `None` for the system and for deleted users.
    pub created_by: Option<UserId>,
    /// Cancelled when the task was called off, its time is up, or the worker must stop. A handler that takes long
    /// looks at it, or waits for it beside its work, and returns [`super::Stop::Cancelled`].
    pub cancelled: CancellationToken,
    /// The world outside.
    pub services: Arc<Services>,
    progress: watch::Sender<Option<Value>>,
}

impl Context {
    /// For a worker: what the handler says of its progress comes out of the other end of `progress`.
    pub fn new(
        task_id: TaskId,
        attempt: i32,
        request_id: Option<Arc<str>>,
        created_by: Option<UserId>,
        cancelled: CancellationToken,
        services: Arc<Services>,
        progress: watch::Sender<Option<Value>>,
    ) -> Self {
        Self { task_id, attempt, request_id, created_by, cancelled, services, progress }
    }

    /// Shows the owner how far it is: any JSON value of a few kilobytes. Never waits; of values that follow each
    /// other quickly only the last is written, without any NUL in its texts: the database cannot store it.
    pub fn progress(&self, value: Value) {
        self.progress.send_replace(Some(value));
    }
}
