//! The dispatcher: enqueues that share statements, and what users and operators do to tasks, queues and schedules.

use std::collections::HashSet;

use chrono::Utc;
use futures_util::future::join_all;
use serde_json::json;
use starter::{
    actors::dispatcher::*,
    db,
    domain::{
        Conflict, Error, Reach, TaskId,
        audit::Actor,
        queue::QueueName,
        schedule::Missed,
        schedule_request::ScheduleRequest,
        task::{NewTask, Status, When},
        task_request::TaskFilter,
    },
};

use crate::support::{
    db::TestDatabase,
    queue::{Desk, keyed, noop},
};

fn is_conflict<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Conflict(Conflict::State(_))))
}

const FINISH: &str =
    "update tasks set status = 'succeeded', stage = null, held_key = null, finished_at = now(), lease = null";
const FAIL: &str = "update tasks set status = 'failed', stage = 'failed', held_key = null, finished_at = now(), lease = null, retry_count = 2, attempt = 3";
const RUN: &str = "update tasks set status = 'running', stage = null, lease = 7, worker_id = 5, attempt = 1, started_at = now()";

#[actix_rt::test]
async fn many_enqueues_at_once_are_few_statements_and_each_is_answered_with_its_own() {
    let database = TestDatabase::create().await;
    let desk = Desk::open(&database).await;
    let tasks: Vec<NewTask> =
        (0..400).map(|n| NewTask { payload: json!({ "sleep_ms": n }).into(), ..noop() }).collect();
    let answers = join_all(tasks.iter().map(|task| desk.live.ask(EnqueueTask(task.clone())))).await;
    for (task, answer) in tasks.iter().zip(answers) {
        let answer = answer.unwrap();
        assert_eq!((answer.task.id, &answer.task.payload), (task.id, &task.payload));
    }
    let tally = desk.dispatch.enqueued();
    assert_eq!(tally.items, 400);
    assert!(tally.statements < 100, "{tally:?}");
}

#[actix_rt::test]
async fn an_owner_who_is_gone_does_not_take_his_neighbours_along() {
    let database = TestDatabase::create().await;
    let desk = Desk::open(&database).await;
    let ghost = NewTask { created_by: Some(starter::domain::UserId::new()), ..noop() };
    let mut all: Vec<NewTask> = (0..20).map(|_| noop()).collect();
    all.insert(10, ghost);
    let answers = join_all(all.into_iter().map(|task| desk.live.ask(EnqueueTask(task)))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 20);
    assert!(matches!(answers[10], Err(Error::Unauthenticated { .. })), "{:?}", answers[10]);
}

#[actix_rt::test]
async fn fifty_who_want_the_same_key_get_one_task() {
    let database = TestDatabase::create().await;
    let (one, two) = (Desk::open(&database).await, Desk::open(&database).await);
    let asked = (0..50).map(|n| if n % 2 == 0 { &one } else { &two }.live.ask(EnqueueTask(keyed("k"))));
    let answers: Vec<_> = join_all(asked).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_new).count(), 1);
    assert!(answers.iter().all(|answer| answer.task.id == answers[0].task.id));
    assert_eq!(database.count("select count(*) from tasks").await, 1);
}

#[actix_rt::test]
async fn a_batch_is_enqueued_as_a_whole_or_not_at_all() {
    let database = TestDatabase::create().await;
    let desk = Desk::open(&database).await;
    let batch: Vec<NewTask> = (0..1000).map(|_| noop()).collect();
    assert_eq!(desk.live.ask(EnqueueTasks(batch)).await.unwrap().len(), 1000);
    let ghost = NewTask { created_by: Some(starter::domain::UserId::new()), ..keyed("k") };
    assert!(desk.live.ask(EnqueueTasks(vec![noop(), keyed("a"), ghost])).await.is_err());
    assert_eq!(database.count("select count(*) from tasks").await, 1000);
}

#[actix_rt::test]
async fn tasks_are_listed_newest_first_and_only_ones_own() {
    let database = TestDatabase::create().await;
    let desk = Desk::open(&database).await;
    let (alice, bob) = (database.user("alice").await, database.user("bobby").await);
    let mine =
        |n: usize| NewTask { created_by: Some(if n.is_multiple_of(2) { alice } else { bob }), ..noop() };
    let batch: Vec<NewTask> = (0..10).map(mine).collect();
    let ids: Vec<TaskId> = batch.iter().map(|task| task.id).collect();
    desk.live.ask(EnqueueTasks(batch)).await.unwrap();
    let list = |reach, filter, before| ListTasks { reach, filter, before, fetch: 3 };
    let page = desk.live.ask(list(Reach::Own(alice), TaskFilter::default(), None)).await.unwrap();
    let shown: Vec<TaskId> = page.iter().map(|task| task.id).collect();
    assert_eq!(shown, [ids[8], ids[6], ids[4]]);
    let page = desk.live.ask(list(Reach::Own(alice), TaskFilter::default(), Some(ids[4]))).await.unwrap();
    assert_eq!(page.iter().map(|task| task.id).collect::<Vec<_>>(), [ids[2], ids[0]]);
    let of_bob = TaskFilter { created_by: Some(bob), ..TaskFilter::default() };
    assert!(desk.live.ask(list(Reach::Own(alice), of_bob.clone(), None)).await.unwrap().is_empty());
    assert_eq!(desk.live.ask(list(Reach::All, of_bob, None)).await.unwrap()[0].id, ids[9]);
    let failed = TaskFilter { status: Some(Status::Failed), ..TaskFilter::default() };
    assert!(desk.live.ask(list(Reach::All, failed, None)).await.unwrap().is_empty());
    let find = |id, reach| desk.live.ask(FindTask { id, reach });
    assert_eq!(find(ids[0], Reach::Own(alice)).await.unwrap().id, ids[0]);
    assert!(matches!(find(ids[1], Reach::Own(alice)).await, Err(Error::NotFound)));
    assert!(matches!(find(TaskId::new(), Reach::All).await, Err(Error::NotFound)));
}

#[actix_rt::test]
async fn what_waits_is_cancelled_at_once_and_what_runs_is_asked_to_stop() {
    let database = TestDatabase::create().await;
    let desk = Desk::open(&database).await;
    let cancel = |id| desk.live.ask(CancelTask { id, reach: Reach::All, by: Actor::system() });
    let later = NewTask { when: When::After(60.0), ..noop() };
    for task in [noop(), later] {
        let id = desk.live.ask(EnqueueTask(task)).await.unwrap().task.id;
        let task = cancel(id).await.unwrap();
        assert_eq!(task.status, Status::Cancelled);
        assert!(task.finished_at.is_some());
        assert!(is_conflict(&cancel(id).await));
    }
    let id = desk.live.ask(EnqueueTask(noop())).await.unwrap().task.id;
    database.sql(&format!("{RUN} where id = '{id}'")).await;
    assert_eq!(cancel(id).await.unwrap().status, Status::Running);
    assert_eq!(cancel(id).await.unwrap().status, Status::Running);
    assert_eq!(
        database
            .count("select count(*) from tasks where cancel_requested_at is not null and lease = 7")
            .await,
        1
    );
    let alice = database.user("alice").await;
    let foreign = desk.live.ask(CancelTask { id, reach: Reach::Own(alice), by: Actor::system() }).await;
    assert!(matches!(foreign, Err(Error::NotFound)));
}

#[actix_rt::test]
async fn a_failed_task_gets_all_its_attempts_again() {
    let database = TestDatabase::create().await;
    let desk = Desk::open(&database).await;
    let id = desk.live.ask(EnqueueTask(keyed("k"))).await.unwrap().task.id;
    let retry = || desk.live.ask(RetryTask { id, reach: Reach::All, budget: None, by: Actor::system() });
    assert!(is_conflict(&retry().await));
    database.sql(FAIL).await;
    let task = retry().await.unwrap();
    assert_eq!((task.status, task.attempt, task.retry_count), (Status::Pending, 3, 0));
    assert!(task.finished_at.is_none() && task.run_at >= task.created_at);
    database.sql(FAIL).await;
    desk.live.ask(EnqueueTask(keyed("k"))).await.unwrap();
    assert!(is_conflict(&retry().await));
}

#[actix_rt::test]
async fn only_what_has_finished_is_deleted_and_its_attempts_with_it() {
    let database = TestDatabase::create().await;
    let desk = Desk::open(&database).await;
    let id = desk.live.ask(EnqueueTask(noop())).await.unwrap().task.id;
    assert!(is_conflict(&desk.live.ask(DeleteTask { id, by: Actor::system() }).await));
    database
        .sql(&format!(
            "{FINISH};
             insert into task_attempts (task_id, attempt, worker_id, started_at, outcome, error)
             values ('{id}', 1, 5, now(), 'failed', 'no')"
        ))
        .await;
    let attempts = desk.live.ask(ListAttempts { id, reach: Reach::All }).await.unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!((attempts[0].attempt, attempts[0].outcome.as_str()), (1, "failed"));
    desk.live.ask(DeleteTask { id, by: Actor::system() }).await.unwrap();
    assert!(matches!(desk.live.ask(DeleteTask { id, by: Actor::system() }).await, Err(Error::NotFound)));
    assert!(matches!(desk.live.ask(ListAttempts { id, reach: Reach::All }).await, Err(Error::NotFound)));
    assert_eq!(database.count("select count(*) from task_attempts").await, 0);
}

#[actix_rt::test]
async fn the_attempt_under_way_is_among_the_attempts() {
    let database = TestDatabase::create().await;
    let desk = Desk::open(&database).await;
    let id = desk.live.ask(EnqueueTask(noop())).await.unwrap().task.id;
    assert!(desk.live.ask(ListAttempts { id, reach: Reach::All }).await.unwrap().is_empty());
    database.sql(RUN).await;
    let attempts = desk.live.ask(ListAttempts { id, reach: Reach::All }).await.unwrap();
    assert_eq!((attempts[0].outcome.as_str(), attempts[0].worker_id), ("running", Some(5)));
    assert!(attempts[0].finished_at.is_none());
}

#[actix_rt::test]
async fn statistics_count_what_is_there() {
    let database = TestDatabase::create().await;
    let desk = Desk::open(&database).await;
    let empty = desk.live.ask(TaskStats).await.unwrap();
    assert!(empty.counts.is_empty() && empty.oldest_due_secs.is_none() && empty.throughput.finished == 0);
    let mut batch: Vec<NewTask> = (0..30).map(|_| noop()).collect();
    batch.extend((0..5).map(|_| NewTask { queue: "mail".into(), priority: 7, ..noop() }));
    batch.push(NewTask { when: When::After(60.0), ..noop() });
    batch.extend((0..40).map(|_| NewTask { queue: "off".into(), ..noop() }));
    desk.live.ask(EnqueueTasks(batch)).await.unwrap();
    database
        .sql(
            "update tasks set status = 'succeeded', stage = null, held_key = null, started_at = run_at + interval '2s',
                 finished_at = run_at + interval '5s'
             where id = any(array(select id from tasks where queue = 'default' and status = 'pending' limit 20));
             update tasks set status = 'cancelled', stage = 'cancelled', finished_at = run_at + interval '9s' where queue = 'off';
             update tasks set run_at = now() - interval '90s' where status = 'pending' and queue = 'mail'",
        )
        .await;
    let stats = desk.live.ask(TaskStats).await.unwrap();
    let counts: Vec<(Status, &str, u64)> =
        stats.counts.iter().map(|count| (count.status, count.queue.as_str(), count.count)).collect();
    assert_eq!(
        counts,
        [
            (Status::Pending, "default", 10),
            (Status::Pending, "mail", 5),
            (Status::Scheduled, "default", 1),
            (Status::Cancelled, "off", 40),
            (Status::Succeeded, "default", 20),
        ]
    );
    let unserved: Vec<_> = stats.unserved.iter().map(|left| (left.queue.as_str(), left.count)).collect();
    assert_eq!(unserved, [("default", 10), ("mail", 5)]);
    assert!(!stats.estimated && !stats.bounded);
    assert!(stats.oldest_due_secs.unwrap() >= 90.0);
    assert_eq!(stats.throughput.finished, 60);
    assert_eq!(stats.recent.len(), 2);
    assert_eq!((stats.recent[0].task_type.as_deref(), stats.recent[0].succeeded), (None, 20));
    assert_eq!(stats.recent[1].task_type.as_deref(), Some("noop"));
    // Those that never began neither waited nor ran.
    assert_eq!((stats.recent[1].wait_secs.unwrap().p50, stats.recent[1].run_secs.unwrap().p99), (2.0, 3.0));
    database
        .sql(
            "insert into workers (host, pid, version, task_types, queues, lease_expires_at)
             values ('h', 1, '1', '{noop}', '{mail}', now() + interval '1 hour'),
                 ('h', 2, '1', '{noop}', '{default}', now() - interval '1 s')",
        )
        .await;
    let unserved = desk.live.ask(TaskStats).await.unwrap().unserved;
    assert_eq!(unserved.iter().map(|left| left.queue.as_str()).collect::<Vec<_>>(), ["default"]);
}

/// Users choose the names of queues, and every one was a line of `/metrics` and of the statistics.
#[actix_rt::test]
async fn what_is_shown_of_the_queues_does_not_grow_with_their_number() {
    let database = TestDatabase::create().await;
    let desk = Desk::open(&database).await;
    database
        .sql(
            "insert into tasks (id, task_type, queue, status, stage, max_attempts, timeout_secs, run_at, finished_at)
             select gen_random_uuid(), 'noop', 'q' || n % 2000, state, stage, 1, 1, now(),
                 case when state = 'cancelled' then now() end
             from generate_series(1, 3000) n,
                 (values ('cancelled', 'cancelled'), ('pending', 'due')) as kind (state, stage)",
        )
        .await;
    let stats = desk.live.ask(TaskStats).await.unwrap();
    let queues: HashSet<&str> = stats.counts.iter().map(|count| count.queue.as_str()).collect();
    assert!(queues.len() <= 201 && queues.contains("other"), "{}", queues.len());
    assert!(stats.unserved.len() <= 201, "{}", stats.unserved.len());
    let cancelled = stats.counts.iter().filter(|count| count.status == Status::Cancelled);
    assert_eq!(cancelled.map(|count| count.count).sum::<u64>(), 3_000);
}

#[actix_rt::test]
async fn a_long_queue_hides_no_other() {
    let database = TestDatabase::create().await;
    let rows = "insert into tasks (id, task_type, queue, max_attempts, timeout_secs)
        select gen_random_uuid(), 'noop', case n when 1 then 'short' else 'long' end, 1, 1 from generate_series";
    database.sql(&format!("{rows}(1, 110000) n")).await;
    let stats = db::tasks::stats(&mut database.connection().await).await.unwrap();
    let counts: Vec<_> = stats.counts.iter().map(|count| (count.queue.as_str(), count.count)).collect();
    assert_eq!(counts, [("long", 50_000), ("short", 1)]);
    assert!(stats.bounded);
}

#[actix_rt::test]
async fn a_task_does_not_end_because_its_owner_is_deleted() {
    let database = TestDatabase::create().await;
    let user = database.user("alice").await;
    database
        .sql(&format!(
            "insert into tasks (id, task_type, status, stage, max_attempts, timeout_secs, created_by, finished_at)
             select gen_random_uuid(), 'noop', 'succeeded', null, 1, 1, '{user}', now() - interval '1 s' from generate_series(1, 9);
             delete from users"
        ))
        .await;
    let mut connection = database.connection().await;
    assert_eq!(db::tasks::disown(&mut connection, user, 100).await.unwrap(), 9);
    assert_eq!(database.count("select count(*) from tasks where created_by is null").await, 9);
    assert_eq!(database.count("select count(*) from task_endings").await, 0);
}

#[actix_rt::test]
async fn a_large_table_is_counted_by_sample_and_close_to_the_truth() {
    let database = TestDatabase::create().await;
    database
        .sql(
            "insert into tasks (id, task_type, status, stage, max_attempts, timeout_secs, finished_at)
             select gen_random_uuid(), 'noop', case when n % 4 = 0 then 'failed' else 'succeeded' end,
                 case when n % 4 = 0 then 'failed' end, 1, 1,
                 now() - interval '2 hours' from generate_series(1, 150000) n; analyze tasks",
        )
        .await;
    let stats = db::tasks::stats(&mut database.connection().await).await.unwrap();
    assert!(stats.estimated);
    let of = |status| stats.counts.iter().find(|count| count.status == status).unwrap().count;
    assert!((100_000..125_000).contains(&of(Status::Succeeded)), "{:?}", stats.counts);
    assert!((30_000..45_000).contains(&of(Status::Failed)), "{:?}", stats.counts);
}

#[actix_rt::test]
async fn queues_are_paused_and_resumed_and_show_what_waits() {
    let database = TestDatabase::create().await;
    let desk = Desk::open(&database).await;
    let mail = QueueName::parse("mail").unwrap();
    let names = async || -> Vec<String> {
        desk.live.ask(ListQueues).await.unwrap().into_iter().map(|queue| queue.name).collect()
    };
    assert_eq!(names().await, ["default"]);
    desk.live.ask(EnqueueTask(NewTask { queue: "mail".into(), ..noop() })).await.unwrap();
    assert_eq!(names().await, ["default", "mail"]);
    let paused = desk.live.ask(PauseQueue { queue: mail.clone(), by: Actor::system() }).await.unwrap();
    assert_eq!((paused.counts.pending, paused.paused_at.is_some()), (1, true));
    assert_eq!(
        desk.live.ask(PauseQueue { queue: mail.clone(), by: Actor::system() }).await.unwrap().paused_at,
        paused.paused_at
    );
    assert_eq!(
        desk.live.ask(ResumeQueue { queue: mail, by: Actor::system() }).await.unwrap().paused_at,
        None
    );
}

fn nightly() -> ScheduleRequest {
    ScheduleRequest {
        name: Some("nightly".into()),
        cron: Some("0 3 * * *".into()),
        timezone: Some("Europe/Berlin".into()),
        task_type: Some("noop".into()),
        ..ScheduleRequest::default()
    }
}

#[actix_rt::test]
async fn schedules_are_made_changed_and_deleted() {
    let database = TestDatabase::create().await;
    let desk = Desk::open(&database).await;
    let create = |request| desk.live.ask(CreateSchedule { request, created_by: None, by: Actor::system() });
    let made = create(nightly()).await.unwrap();
    assert!(made.next_run_at.unwrap() > Utc::now() && made.enabled && made.missed == Missed::Skip);
    assert!(is_conflict(&create(nightly()).await));
    let bad = ScheduleRequest { task_type: Some("nothing".into()), cron: None, ..nightly() };
    let Err(Error::Invalid(wrong)) = create(bad).await else { panic!("refused") };
    assert_eq!(wrong.iter().map(|v| v.field.as_ref()).collect::<Vec<_>>(), ["/cron", "/task_type"]);

    let update = |request| desk.live.ask(UpdateSchedule { id: made.id, request, by: Actor::system() });
    let renamed = ScheduleRequest { name: Some("nights".into()), ..ScheduleRequest::default() };
    let changed = update(renamed).await.unwrap();
    assert_eq!((changed.name.as_str(), changed.next_run_at), ("nights", made.next_run_at));
    let off = ScheduleRequest { enabled: Some(false), ..ScheduleRequest::default() };
    assert_eq!(update(off).await.unwrap().next_run_at, None);
    let on = ScheduleRequest {
        enabled: Some(true),
        cron: Some("*/5 * * * *".into()),
        missed: Some("run_once".into()),
        ..ScheduleRequest::default()
    };
    let changed = update(on).await.unwrap();
    assert!(changed.next_run_at.is_some() && changed.missed == Missed::RunOnce);
    let bad = ScheduleRequest { cron: Some("never".into()), ..ScheduleRequest::default() };
    assert!(matches!(update(bad).await, Err(Error::Invalid(_))));

    assert_eq!(desk.live.ask(ListSchedules { before: None, fetch: 9 }).await.unwrap().len(), 1);
    assert_eq!(desk.live.ask(FindSchedule(made.id)).await.unwrap().name, "nights");
    desk.live.ask(DeleteSchedule { id: made.id, by: Actor::system() }).await.unwrap();
    assert!(matches!(
        desk.live.ask(DeleteSchedule { id: made.id, by: Actor::system() }).await,
        Err(Error::NotFound)
    ));
    assert!(matches!(desk.live.ask(FindSchedule(made.id)).await, Err(Error::NotFound)));
}

#[actix_rt::test]
async fn failed_tasks_are_retried_and_finished_ones_pruned_in_bulk() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    let batch = vec![noop(), keyed("k"), NewTask { queue: "mail".into(), ..noop() }];
    db::tasks::insert(&mut connection, batch).await.unwrap();
    database.sql(FAIL).await;
    db::tasks::insert(&mut connection, vec![keyed("k")]).await.unwrap();
    let before = db::now(&mut connection).await.unwrap();
    let of =
        |queue: Option<&str>| db::tasks::Failed { before, task_type: None, queue: queue.map(Into::into) };
    let retried = db::tasks::retry_failed(&mut connection, &of(Some("mail")), 10).await.unwrap();
    assert_eq!(retried.len(), 1);
    // The key is held: that one stays a dead letter.
    let retried = db::tasks::retry_failed(&mut connection, &of(None), 10).await.unwrap();
    assert_eq!(retried.len(), 1);
    let all = db::tasks::Prune { statuses: Status::ALL.to_vec(), before: Utc::now(), task_type: None };
    assert_eq!(db::tasks::prune(&mut connection, &all, None, 10).await.unwrap().len(), 1);
    assert_eq!(database.count("select count(*) from tasks").await, 3);
}
