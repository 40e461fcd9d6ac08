//! `noop`: does nothing, slowly, wrongly or with a bang, as it is told; for tests and benchmarks.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{Context, Outcome, RetryPolicy, Stop, TaskType};
use crate::domain::Violation;

/// A day.
const LONGEST_SLEEP_MS: u64 = 86_400_000;

/// Does nothing; for tests and benchmarks.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Noop {
    /// Sleeps this long first, milliseconds, at most a day.
    #[serde(default)]
    #[schemars(range(max = 86_400_000))]
    sleep_ms: u64,
    /// Fails this many attempts before it succeeds.
    #[serde(default)]
    fail_times: u32,
    /// Panics.
    #[serde(default)]
    panic: bool,
}

impl TaskType for Noop {
    const NAME: &'static str = "noop";
    const RETRY: RetryPolicy =
        RetryPolicy { first: Duration::from_millis(500), factor: 2.0, longest: Duration::from_secs(60) };

    fn check(&self) -> Vec<Violation> {
        if self.sleep_ms > LONGEST_SLEEP_MS {
            return vec![Violation::new("/sleep_ms", "out_of_range", "at most 86400000")];
        }
        Vec::new()
    }

    async fn run(self, context: Context) -> Outcome {
        if self.sleep_ms > 0 {
            let asleep = tokio::time::sleep(Duration::from_millis(self.sleep_ms));
            if context.cancelled.run_until_cancelled(asleep).await.is_none() {
                return Err(Stop::Cancelled);
            }
        }
        #[expect(clippy::panic, reason = "what it is for: a panicking handler")]
        if self.panic {
            panic!("a noop was told to panic");
        }
        if u32::try_from(context.attempt).unwrap_or(0) <= self.fail_times {
            return Err(Stop::failed("told to fail"));
        }
        Ok(Value::Null)
    }
}
