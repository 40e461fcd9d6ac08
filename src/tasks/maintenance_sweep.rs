//! `maintenance.sweep`: deletes what is old now, and not when its turn comes.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Context, Outcome, TaskType};

/// Deletes what is old: finished tasks, sessions, tokens, entries of the audit log, files. It happens by itself now and
/// then; the result of this task tells how much there was.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct MaintenanceSweep {}

impl TaskType for MaintenanceSweep {
    const NAME: &'static str = "maintenance.sweep";
    const TIMEOUT: Duration = Duration::from_secs(600);
    const MAX_RUNNING: Option<u32> = Some(1);

    async fn run(self, context: Context) -> Outcome {
        Ok(context.services.sweeper.sweep().await?)
    }
}
