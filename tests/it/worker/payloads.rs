//! What a worker makes of payloads that are large, or that no handler can read.

use std::{sync::Mutex, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use starter::{
    db::{queue, tasks},
    domain::{
        JsonText, Reach,
        attempt::{Claim, Lease},
        task::NewTask,
        task_request::TaskFilter,
    },
    tasks::{Context, Outcome, Registry, TaskType},
};

use super::workshop::{PATIENCE, in_workshop, noop, quick, task};
use crate::support::eventually;

/// Keeps what it is told, as text.
#[derive(Deserialize, JsonSchema)]
struct Hear {
    #[schemars(with = "Value")]
    data: JsonText,
}

static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl TaskType for Hear {
    const NAME: &'static str = "hear";

    async fn run(self, _: Context) -> Outcome {
        HEARD.lock().unwrap().push(self.data.as_str().to_owned());
        Ok(Value::Null)
    }
}

fn hear(data: &str) -> NewTask {
    let payload = JsonText::object(&format!(r#"{{"data":{data}}}"#)).unwrap();
    NewTask { payload, ..task("hear", json!({})) }
}

#[test]
fn a_handler_is_told_the_digits_that_were_sent_however_large_the_payload() {
    in_workshop(async |workshop| {
        let _worker = workshop.worker(Registry::builtin().with::<Hear>(), quick()).await;
        let padded = |number: &str, zeros: usize| format!("[{number}{}]", ",0".repeat(zeros));
        // Small enough to come with the claim; stored apart; compressed; as large as may be.
        for zeros in [0, 1_000, 3_000, 32_000] {
            let data = padded("1.7976931348623157e308,1e400,18446744073709551616,-0", zeros);
            let id = workshop.enqueue(hear(&data)).await;
            // The whole row has numbers that no `Value` holds.
            let row = format!("select status from tasks where id = '{id}' and finished_at is not null");
            eventually(PATIENCE, async || !workshop.rows(&row).await.is_empty()).await;
            assert_eq!(workshop.rows(&row).await[0]["status"], "succeeded");
            assert!(HEARD.lock().unwrap().contains(&data), "{zeros}");
        }
    });
}

#[test]
fn a_payload_that_no_handler_can_read_fails_its_own_task_and_no_other() {
    in_workshop(async |workshop| {
        let _worker = workshop.worker(Registry::builtin(), quick()).await;
        let ugly = [
            r#"{"sleep_ms":1e400}"#,
            r#"{"sleep_ms":"x"}"#,
            r#"{"sleep_ms":1,"sleep_ms":2}"#,
            r#"{"\ud800":1}"#,
        ];
        for payload in ugly {
            workshop
                .database
                .sql(&format!(
                    "insert into tasks (id, task_type, payload, max_attempts, timeout_secs, stage, priority)
                     values (gen_random_uuid(), 'noop', '{payload}', 1, 10, 'due', 50)"
                ))
                .await;
        }
        let good = workshop.enqueue(noop(json!({}))).await;
        assert_eq!(workshop.finished(good).await["status"], "succeeded");
        let failed = "select status, last_error from tasks where priority = 50 and finished_at is not null";
        eventually(PATIENCE, async || workshop.rows(failed).await.len() == ugly.len()).await;
        for row in workshop.rows(failed).await {
            assert_eq!(row["status"], "failed");
            assert!(row["last_error"].as_str().unwrap().contains("payload does not fit"), "{row}");
        }
    });
}

/// Plain SQL can write times that no date has.
#[test]
fn a_time_without_a_date_stops_no_queue_and_hides_no_task() {
    in_workshop(async |workshop| {
        workshop
            .database
            .sql(
                "insert into tasks (id, task_type, max_attempts, timeout_secs, stage, run_at, created_at, updated_at)
                 select gen_random_uuid(), 'noop', 1, 10, 'due', '-infinity', 'infinity', '294276-12-31' from generate_series(1, 3)",
            )
            .await;
        let good = workshop.enqueue(noop(json!({}))).await;
        let connection = &mut workshop.database.connection().await;
        let all = TaskFilter::default();
        assert_eq!(tasks::page(connection, Reach::All, &all, None, 10).await.unwrap().len(), 4);
        let _worker = workshop.worker(Registry::builtin(), quick()).await;
        assert_eq!(workshop.finished(good).await["status"], "succeeded");
        let left = "select 1 from tasks where status <> 'succeeded'";
        eventually(PATIENCE, async || workshop.rows(left).await.is_empty()).await;
    });
}

#[test]
fn what_is_claimed_ahead_is_bounded_in_bytes() {
    in_workshop(async |workshop| {
        // As long as may be: text that compresses well, and text that does not.
        let noise: String =
            (0..5_000).map(|n: u32| format!("{:08x}", n.wrapping_mul(2_654_435_761))).collect();
        let zeros = format!("[0{}]", ",0".repeat(30_000));
        let large: Vec<NewTask> =
            (0..60).map(|n| if n % 2 == 0 { hear(&format!("\"{noise}\"")) } else { hear(&zeros) }).collect();
        let connection = &mut workshop.database.connection().await;
        tasks::insert(connection, large).await.unwrap();

        let (queues, hour) = (["default".to_owned()], Duration::from_secs(3_600));
        let worker = queue::register(connection, ("h", 1), &["hear"], &queues, hour).await.unwrap();
        let claims = queue::claim(connection, worker, Lease::draw(), "default", &["hear"], 60).await.unwrap();
        assert_eq!(claims.len(), 60);
        let bytes: usize =
            claims.iter().filter_map(|claim| claim.payload.as_ref()).map(JsonText::bytes).sum();
        assert!(bytes <= 60 * 4_096, "{bytes}");

        // What did not come is there for the asking, and only under its lease.
        let leased: Vec<_> = claims.iter().map(Claim::leased).collect();
        let found = queue::payloads(connection, &leased).await.unwrap();
        assert!(
            found.len() == 60 && found.iter().all(|(_, payload)| payload.as_ref().unwrap().bytes() > 40_000)
        );
        let others: Vec<_> = leased.iter().map(|(id, _)| (*id, Lease::draw())).collect();
        assert!(queue::payloads(connection, &others).await.unwrap().is_empty());
    });
}
