//! A model of a task's life, and the real database beside it: after every step, by any of several workers, the two agree.

use std::{collections::HashMap, time::Duration};

use diesel_async::AsyncPgConnection;
use proptest::prelude::*;
use serde_json::Value;
use starter::{
    db::{
        self, Plans,
        queue::{self, Places, Stopping, Wanted},
    },
    domain::{
        Reach, TaskId,
        attempt::{Lease, Leased, Stopped, WorkerId},
        task::NewTask,
    },
};

use super::workshop::{noop, rows};
use crate::support::db::TestDatabase;

const WORKERS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Enqueue {
        max_attempts: i32,
    },
    Claim {
        worker: usize,
        at_most: usize,
        /// So many of them may begin at once.
        begin: i64,
    },
    /// So many more of a worker's tasks may begin.
    Begin {
        worker: usize,
        more: i64,
    },
    /// By whoever once had the task: his lease may be long over.
    Succeed {
        claim: usize,
    },
    Stop {
        claim: usize,
        how: Stopped,
    },
    HandBack {
        claim: usize,
    },
    /// A worker does not know of this claim, which may be its own.
    TakeBack {
        worker: usize,
        claim: usize,
    },
    Die {
        worker: usize,
    },
    Rescue,
    Promote,
    Cancel {
        task: usize,
    },
    Retry {
        task: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let how = prop::sample::select(vec![
        Stopped::Failed,
        Stopped::TimedOut,
        Stopped::Refused,
        Stopped::Cancelled,
        Stopped::Snoozed,
        Stopped::Interrupted,
    ]);
    let any_one = 0..1000_usize;
    let step = prop_oneof![
        3 => (1..4).prop_map(|max_attempts| Step::Enqueue { max_attempts }),
        4 => (0..WORKERS, 1..4_usize, 0..4_i64)
            .prop_map(|(worker, at_most, begin)| Step::Claim { worker, at_most, begin }),
        2 => (0..WORKERS, 1..3_i64).prop_map(|(worker, more)| Step::Begin { worker, more }),
        2 => any_one.clone().prop_map(|claim| Step::Succeed { claim }),
        4 => (any_one.clone(), how).prop_map(|(claim, how)| Step::Stop { claim, how }),
        1 => any_one.clone().prop_map(|claim| Step::HandBack { claim }),
        1 => (0..WORKERS, any_one.clone()).prop_map(|(worker, claim)| Step::TakeBack { worker, claim }),
        1 => (0..WORKERS).prop_map(|worker| Step::Die { worker }),
        1 => Just(Step::Rescue),
        2 => Just(Step::Promote),
        1 => any_one.clone().prop_map(|task| Step::Cancel { task }),
        1 => any_one.prop_map(|task| Step::Retry { task }),
    ];
    prop::collection::vec(step, 1..60)
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Task {
    status: &'static str,
    attempt: i32,
    max_attempts: i32,
    retry_count: i32,
    crashes: i32,
    lease: Option<i64>,
    called_off: bool,
    history: usize,
}

impl Task {
    /// As if it had not been claimed.
    fn unclaim(&mut self) {
        self.attempt -= 1;
        self.lease = None;
        self.status = if self.called_off { "cancelled" } else { "pending" };
    }
}

/// A task that was claimed once.
#[derive(Clone, Copy)]
struct Claimed {
    leased: Leased,
    /// `None`: it is gone.
    worker: Option<usize>,
    place: i64,
    /// It may have.
    begun: bool,
}

/// A worker, and its tasks' places.
#[derive(Clone, Copy)]
struct Worker {
    id: WorkerId,
    next_place: i64,
    begun_to: i64,
}

struct World {
    connection: AsyncPgConnection,
    tasks: HashMap<TaskId, Task>,
    order: Vec<TaskId>,
    claims: Vec<Claimed>,
    workers: Vec<Worker>,
}

impl World {
    async fn new(database: &TestDatabase) -> Self {
        database.sql("truncate tasks, task_claims; delete from workers").await;
        let connection = database.connection().await;
        let mut world = Self {
            connection,
            tasks: HashMap::new(),
            order: Vec::new(),
            claims: Vec::new(),
            workers: Vec::new(),
        };
        for _ in 0..WORKERS {
            let worker = world.register().await;
            world.workers.push(worker);
        }
        world
    }

    async fn register(&mut self) -> Worker {
        let (queues, hour) = (["default".to_owned()], Duration::from_secs(3600));
        let id = queue::register(&mut self.connection, ("h", 1), &["noop"], &queues, hour).await.unwrap();
        Worker { id, next_place: 1, begun_to: 0 }
    }

    fn pick<T: Copy>(list: &[T], n: usize) -> Option<T> {
        list.get(n % list.len().max(1)).copied()
    }

    /// The task of that claim, if the claim is still good.
    fn held(&mut self, (id, lease): Leased) -> Option<&mut Task> {
        self.tasks.get_mut(&id).filter(|task| task.lease == Some(lease.0))
    }

    async fn step(&mut self, step: &Step) {
        match *step {
            Step::Enqueue { max_attempts } => {
                let task = NewTask { max_attempts, ..noop(Value::Object(serde_json::Map::new())) };
                let id = task.id;
                db::tasks::insert(&mut self.connection, vec![task]).await.unwrap();
                let (attempt, retry_count, crashes, history) = (0, 0, 0, 0);
                let (status, lease, called_off) = ("pending", None, false);
                let task =
                    Task { status, attempt, max_attempts, retry_count, crashes, lease, called_off, history };
                self.tasks.insert(id, task);
                self.order.push(id);
            }
            Step::Claim { worker, at_most, begin } => self.claim(worker, at_most, begin).await,
            Step::Begin { worker, more } => {
                let worker = &mut self.workers[worker];
                worker.begun_to += more;
                assert!(queue::note_begun(&mut self.connection, worker.id, worker.begun_to).await.unwrap());
            }
            Step::Succeed { claim } => {
                let Some(Claimed { leased, .. }) = Self::pick(&self.claims, claim) else { return };
                let written = queue::succeed(&mut self.connection, &[(leased, None)]).await.unwrap();
                let held = self.held(leased);
                assert_eq!(written.len(), usize::from(held.is_some()), "only who holds it ends it");
                if let Some(task) = held {
                    (task.status, task.lease) = ("succeeded", None);
                }
            }
            Step::Stop { claim, how } => self.stop(claim, how).await,
            Step::HandBack { claim } => {
                let Some(Claimed { leased, .. }) = Self::pick(&self.claims, claim) else { return };
                let written = queue::hand_back(&mut self.connection, &[leased]).await.unwrap();
                let held = self.held(leased);
                assert_eq!(written.len(), usize::from(held.is_some()));
                if let Some(task) = held {
                    task.unclaim();
                }
            }
            Step::TakeBack { worker, claim } => self.take_back(worker, claim).await,
            Step::Die { worker } => {
                let Worker { id, begun_to, .. } = self.workers[worker];
                queue::deregister(&mut self.connection, id).await.unwrap();
                assert!(!queue::note_begun(&mut self.connection, id, i64::MAX).await.unwrap());
                for claim in self.claims.iter_mut().filter(|claim| claim.worker == Some(worker)) {
                    claim.worker = None;
                    claim.begun |= claim.place <= begun_to;
                }
                self.workers[worker] = self.register().await;
            }
            Step::Rescue => self.rescue().await,
            Step::Promote => {
                let due = "update tasks set run_at = now() - interval '1s' where status in ('scheduled', 'retrying')";
                diesel_async::SimpleAsyncConnection::batch_execute(&mut self.connection, due).await.unwrap();
                queue::promote(&mut self.connection, &["default".to_owned()], 1000).await.unwrap();
                for task in self.tasks.values_mut().filter(|t| matches!(t.status, "scheduled" | "retrying")) {
                    task.status = "pending";
                }
            }
            Step::Cancel { task } => {
                let Some(id) = Self::pick(&self.order, task) else { return };
                let cancelled = db::tasks::cancel(&mut self.connection, id, Reach::All).await;
                let task = self.tasks.get_mut(&id).unwrap();
                let finished = matches!(task.status, "succeeded" | "failed" | "cancelled");
                assert_eq!(cancelled.is_err(), finished);
                match task.status {
                    "running" => task.called_off = true,
                    _ if finished => {}
                    _ => (task.status, task.called_off) = ("cancelled", true),
                }
            }
            Step::Retry { task } => {
                let Some(id) = Self::pick(&self.order, task) else { return };
                let retried = db::tasks::retry(&mut self.connection, id, Reach::All).await;
                let task = self.tasks.get_mut(&id).unwrap();
                assert_eq!(retried.is_ok(), matches!(task.status, "failed" | "cancelled"));
                if retried.is_ok() {
                    (task.status, task.retry_count, task.crashes) = ("pending", 0, 0);
                    task.called_off = false;
                }
            }
        }
    }

    async fn claim(&mut self, worker: usize, at_most: usize, begin: i64) {
        let lease = Lease::draw();
        let Worker { id, next_place: first, .. } = self.workers[worker];
        self.workers[worker].next_place += i64::try_from(at_most).unwrap();
        let places = Places { first, begun_to: first + begin - 1 };
        let types = &["noop"];
        let wanted =
            Wanted { queue: "default", task_types: types, limited: None, at_most, whence: None, places };
        let claimed = queue::claim_from(&mut self.connection, Plans::Fresh, id, lease, wanted).await.unwrap();
        let pending = self.tasks.values().filter(|task| task.status == "pending").count();
        assert_eq!(claimed.len(), pending.min(at_most));
        for (claim, place) in claimed.into_iter().zip(first..) {
            let task = self.tasks.get_mut(&claim.id).unwrap();
            assert_eq!(task.status, "pending");
            (task.status, task.lease) = ("running", Some(lease.0));
            task.attempt += 1;
            assert_eq!((claim.attempt, claim.retry_count), (task.attempt, task.retry_count));
            assert_eq!(claim.last_chance, task.crashes >= 2 || task.retry_count + 1 >= task.max_attempts);
            let begun = place <= places.begun_to;
            self.claims.push(Claimed { leased: claim.leased(), worker: Some(worker), place, begun });
        }
    }

    async fn take_back(&mut self, worker: usize, claim: usize) {
        let Some(Claimed { leased: (_, unknown), worker: holder, .. }) = Self::pick(&self.claims, claim)
        else {
            return;
        };
        let own = self.claims.iter().filter(|claim| claim.worker == Some(worker)).map(|claim| claim.leased.1);
        let known: Vec<Lease> = own.filter(|lease| *lease != unknown).collect();
        let taken = queue::take_back(&mut self.connection, self.workers[worker].id, &known).await.unwrap();
        let of_it =
            self.tasks.values_mut().filter(|task| holder == Some(worker) && task.lease == Some(unknown.0));
        assert_eq!(taken, of_it.map(Task::unclaim).count());
    }

    async fn stop(&mut self, claim: usize, how: Stopped) {
        let Some(Claimed { leased, .. }) = Self::pick(&self.claims, claim) else { return };
        let stopping = Stopping { how, why: Some("why".into()), delay: Duration::ZERO, times: None };
        let written = queue::stop(&mut self.connection, &[(leased, stopping)]).await.unwrap();
        let Some(task) = self.held(leased) else {
            assert!(written.is_empty(), "only who holds it ends it");
            return;
        };
        task.lease = None;
        task.history += 1;
        task.status = match how {
            _ if task.called_off => "cancelled",
            Stopped::Cancelled => "cancelled",
            Stopped::Interrupted => "pending",
            Stopped::Snoozed => "scheduled",
            Stopped::Refused => "failed",
            Stopped::Failed | Stopped::TimedOut if task.retry_count + 1 >= task.max_attempts => "failed",
            Stopped::Failed | Stopped::TimedOut => "retrying",
        };
        task.retry_count += i32::from(task.status == "retrying");
        assert_eq!(written[&leased].as_str(), task.status);
    }

    async fn rescue(&mut self) {
        let rescued = queue::rescue(&mut self.connection, 1000).await.unwrap();
        let mut expected = 0;
        for Claimed { leased: (id, lease), begun, .. } in
            self.claims.iter().filter(|claim| claim.worker.is_none())
        {
            let task = self.tasks.get_mut(id).unwrap();
            if task.lease == Some(lease.0) {
                expected += 1;
                if !begun {
                    task.unclaim();
                    continue;
                }
                task.lease = None;
                task.history += 1;
                let exhausted = task.retry_count + 1 >= task.max_attempts;
                task.status = match task.called_off {
                    true => "cancelled",
                    false if task.crashes >= 2 || exhausted => "failed",
                    false => "retrying",
                };
                task.crashes += 1;
                task.retry_count += i32::from(task.status == "retrying");
            }
        }
        assert_eq!(rescued.len(), expected);
    }

    /// The database says the same.
    async fn compare(&mut self) {
        let query = "select t.*, (select count(*) from task_attempts a where a.task_id = t.id) as history from tasks t";
        let found = rows(&mut self.connection, query).await;
        assert_eq!(found.len(), self.tasks.len());
        for row in found {
            let id: TaskId = serde_json::from_value(row["id"].clone()).unwrap();
            let task = &self.tasks[&id];
            let number = |name: &str| row[name].as_i64().unwrap();
            assert_eq!(row["status"], task.status);
            assert_eq!(row["lease"].as_i64(), task.lease);
            let seen = [number("attempt"), number("retry_count"), number("crashes")];
            assert_eq!(seen, [task.attempt, task.retry_count, task.crashes].map(i64::from));
            assert_eq!(number("history"), task.history as i64);
            let finished = matches!(task.status, "succeeded" | "failed" | "cancelled");
            assert_eq!(row["finished_at"].is_string(), finished);
        }
        let unclaimed = "select t.id from tasks t where status = 'running' and not exists (
            select from task_claims c where c.lease = t.lease and t.id = any(c.task_ids))";
        assert!(rows(&mut self.connection, unclaimed).await.is_empty());
    }
}

#[test]
fn the_database_and_the_model_agree_after_every_step() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(TestDatabase::create());
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in steps())| {
        runtime.block_on(async {
            let mut world = World::new(&database).await;
            for step in &steps {
                world.step(step).await;
                world.compare().await;
            }
        });
    });
    runtime.block_on(async { drop(database) });
}
