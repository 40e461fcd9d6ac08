//! A database, and workers on it.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use starter::{
    actors::{
        live::{Live, Reach},
        maintenance::{self, Maintenance, Upkeep},
        threads::Thread,
        worker::{Settings, Shift, TaskWorker},
    },
    db::{self, Pool, Target},
    domain::{
        TaskId,
        task::{NewTask, When},
    },
    tasks::{Registry, Services},
};
use tokio::{runtime::Runtime, sync::Notify};

pub(crate) use crate::support::db::rows;
use crate::support::{db::TestDatabase, eventually};

/// Long, because other tests run at the same time on few cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Workshop {
    pub(crate) database: TestDatabase,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) alarm: Arc<Notify>,
}

/// A worker process, as far as the database can tell.
pub(crate) struct Worker {
    pub(crate) shift: Shift,
    pub(crate) live: Live<TaskWorker>,
}

/// Runs a test with a database of its own, where actors can be started.
pub(crate) fn in_workshop<Fut: Future<Output = ()>>(test: impl FnOnce(Workshop) -> Fut) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let runtime = Arc::new(runtime);
    // Never dropped: that cannot be done inside of another, and the process ends soon.
    std::mem::forget(Arc::clone(&runtime));
    actix_rt::System::new().block_on(async {
        let database = TestDatabase::create().await;
        test(Workshop { database, runtime, alarm: Arc::new(Notify::new()) }).await;
    });
}

pub(crate) fn quick() -> Settings {
    Settings {
        concurrency: 8,
        queues: vec!["default".into()],
        poll: Duration::from_millis(50),
        lease: Duration::from_secs(30),
    }
}

/// Looks often, and deletes and vacuums on demand only.
pub(crate) fn upkeep_settings() -> maintenance::Settings {
    let [hour, day] = [3_600, 86_400].map(Duration::from_secs);
    let look = Duration::from_millis(50);
    maintenance::Settings { look, sweep: hour, vacuum: hour, tasks: day, audit: day, throttle: day }
}

pub(crate) fn task(task_type: &str, payload: Value) -> NewTask {
    NewTask {
        id: TaskId::new(),
        task_type: task_type.into(),
        queue: "default".into(),
        payload: payload.into(),
        priority: 0,
        when: When::Now,
        max_attempts: 3,
        timeout_secs: 60,
        unique_key: None,
        created_by: None,
        request_id: None,
        schedule_id: None,
    }
}

pub(crate) fn noop(payload: Value) -> NewTask {
    task("noop", payload)
}

impl Workshop {
    pub(crate) async fn pool(&self) -> Pool {
        self.pool_at(self.database.target()).await
    }

    pub(crate) async fn pool_at(&self, target: Target) -> Pool {
        let pool = self.runtime.spawn(async move { db::connect(&target, db::Limits::default()).await });
        pool.await.unwrap().unwrap()
    }

    pub(crate) async fn worker(&self, registry: Registry, settings: Settings) -> Worker {
        self.worker_with(registry, settings, Arc::new(Services::default())).await
    }

    pub(crate) async fn worker_at(&self, target: Target, registry: Registry, settings: Settings) -> Worker {
        let pool = self.pool_at(target).await;
        self.start(Shift::new(pool, registry, Arc::new(Services::default()), settings))
    }

    pub(crate) async fn worker_with(
        &self,
        registry: Registry,
        settings: Settings,
        services: Arc<Services>,
    ) -> Worker {
        self.start(Shift::new(self.pool().await, registry, services, settings))
    }

    fn start(&self, shift: Shift) -> Worker {
        let thread = Thread::start("work", &self.runtime);
        let reach = Reach { name: "TaskWorker", capacity: 16, patience: Duration::from_secs(60) };
        let live = Live::start(reach, &thread, &self.alarm, {
            let shift = shift.clone();
            move || TaskWorker::on(&shift)
        });
        Worker { shift, live }
    }

    /// What looks after the queue, every 50 ms.
    pub(crate) async fn maintenance(&self) -> Live<Maintenance> {
        self.maintenance_on(Upkeep::new(self.pool().await, Registry::builtin(), None, upkeep_settings()))
    }

    pub(crate) fn maintenance_on(&self, upkeep: Upkeep) -> Live<Maintenance> {
        let thread = Thread::start("upkeep", &self.runtime);
        let reach = Reach { name: "Maintenance", capacity: 16, patience: Duration::from_secs(5) };
        Live::start(reach, &thread, &self.alarm, move || Maintenance::on(&upkeep))
    }

    pub(crate) async fn enqueue(&self, task: NewTask) -> TaskId {
        let id = task.id;
        db::tasks::insert(&mut self.database.connection().await, vec![task]).await.unwrap();
        id
    }

    /// As somebody who wants it cancelled; no notification is sent.
    pub(crate) async fn call_off(&self, id: TaskId) {
        self.database.sql(&format!("update tasks set cancel_requested_at = now() where id = '{id}'")).await;
    }

    pub(crate) async fn rows(&self, query: &str) -> Vec<Value> {
        rows(&mut self.database.connection().await, query).await
    }

    pub(crate) async fn row(&self, id: TaskId) -> Value {
        self.rows(&format!("select * from tasks where id = '{id}'")).await.remove(0)
    }

    pub(crate) async fn attempts(&self, id: TaskId) -> Vec<Value> {
        self.rows(&format!("select * from task_attempts where task_id = '{id}' order by attempt")).await
    }

    pub(crate) async fn until(&self, id: TaskId, status: &str) -> Value {
        eventually(PATIENCE, async || self.row(id).await["status"] == status).await;
        self.row(id).await
    }

    pub(crate) async fn finished(&self, id: TaskId) -> Value {
        eventually(PATIENCE, async || self.row(id).await["finished_at"] != json!(null)).await;
        self.row(id).await
    }
}
