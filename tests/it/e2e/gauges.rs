//! `/metrics` of a real server tells how the queue is.

use super::*;

/// A worker that takes `noop` from `default`, tasks of all kinds, and five that end now.
const QUEUE: &str = "
    insert into workers (host, pid, version, task_types, queues, lease_expires_at)
        values ('h', 1, '1', '{noop}', '{default}', now() + interval '1 hour');
    insert into tasks (id, task_type, queue, status, stage, max_attempts, timeout_secs, run_at)
    select gen_random_uuid(), type, queue, status, stage, 1, 1, now() + delay
    from (values
        ('noop', 'default', 'pending', 'due', interval '-500 s'),
        ('noop', 'default', 'pending', 'due', interval '-1 s'),
        ('noop', 'default', 'pending', 'due', interval '-2 s'),
        ('noop', 'mail', 'pending', 'due', interval '-3 s'),
        ('of.tomorrow', 'default', 'pending', 'due', interval '-4 s'),
        ('of.tomorrow', 'default', 'pending', 'due', interval '-5 s'),
        ('noop', 'default', 'scheduled', 'waiting', interval '1 hour'),
        ('noop', 'mail', 'retrying', 'waiting', interval '1 hour')
    ) as t (type, queue, status, stage, delay);
    insert into tasks (id, task_type, status, stage, max_attempts, timeout_secs, lease, worker_id)
        select '018f3e2a-0000-7000-8000-000000000000', 'noop', 'running', null, 1, 1, 7, id from workers;
    insert into task_claims (lease, worker_id, task_ids)
        select 7, id, '{018f3e2a-0000-7000-8000-000000000000}' from workers;
    insert into tasks (id, task_type, max_attempts, timeout_secs, priority)
        select gen_random_uuid(), 'email.send', 1, 1, n from generate_series(1, 5) n;
    update tasks set status = 'succeeded', stage = null, finished_at = now(),
        started_at = now() - priority * interval '0.1 s', run_at = now() - priority * interval '1.1 s'
        where task_type = 'email.send' and priority < 5;
    update tasks set status = 'failed', stage = 'failed', finished_at = now(), run_at = now() - interval '100.5 s',
        started_at = now() - interval '0.5 s' where task_type = 'email.send' and priority = 5";

/// The value of this series, if it is there.
fn value(text: &str, series: &str) -> Option<f64> {
    let of =
        |line: &str| line.rsplit_once(' ').map(|(name, value)| (name.replace("{}", ""), value.to_owned()));
    let found = text.lines().filter_map(of).find(|(name, _)| *name == format!("starter_{series}"));
    found.map(|(_, value)| value.parse().unwrap())
}

#[tokio::test]
async fn the_queue_is_told_as_it_is() {
    let database = TestDatabase::create().await;
    database.sql(QUEUE).await;
    let public = [("STARTER__TELEMETRY__METRICS_PUBLIC", "true")];
    let server = Running::start("server", &database, &public).await;
    let metrics = async || {
        let answer = client().get(server.url().unwrap() + "/metrics").send().await.unwrap();
        answer.text().await.unwrap()
    };
    // The first look is under way when the server is ready.
    eventually(LONG, async || value(&metrics().await, "tasks_oldest_due_seconds").is_some()).await;
    let text = metrics().await;
    let tasks = |status: &str, task_type: &str, queue: &str| {
        value(&text, &format!(r#"tasks{{status="{status}",task_type="{task_type}",queue="{queue}"}}"#))
    };
    for (status, task_type, queue, count) in [
        ("pending", "noop", "default", 3.0),
        ("pending", "noop", "mail", 1.0),
        ("pending", "of.tomorrow", "default", 2.0),
        ("scheduled", "noop", "default", 1.0),
        ("retrying", "noop", "mail", 1.0),
        ("running", "noop", "default", 1.0),
        ("succeeded", "email.send", "default", 4.0),
        ("failed", "email.send", "default", 1.0),
    ] {
        assert_eq!(tasks(status, task_type, queue), Some(count), "{status} {task_type} {queue}\n{text}");
    }
    assert_eq!(text.matches("\nstarter_tasks{").count(), 8, "{text}");
    let unserved = |task_type: &str, queue: &str| {
        value(&text, &format!(r#"tasks_unserved{{task_type="{task_type}",queue="{queue}"}}"#))
    };
    assert_eq!(unserved("of.tomorrow", "default"), Some(2.0), "no worker knows the type\n{text}");
    assert_eq!(unserved("noop", "mail"), Some(1.0), "no worker serves the queue\n{text}");
    assert_eq!(unserved("noop", "default"), None, "{text}");
    let oldest = value(&text, "tasks_oldest_due_seconds").unwrap();
    assert!((500.0..600.0).contains(&oldest), "{oldest}");
    let close = |series: &str, expected: f64| {
        let told = value(&text, series).unwrap_or_else(|| panic!("no {series}\n{text}"));
        assert!((told - expected).abs() < 1e-5, "{series} {told}, not {expected}");
    };
    close("tasks_finished_per_second", 5.0 / 3600.0);
    // They waited for 1, 2, 3, 4 and 100 s, and ran for a tenth of that, the last one for 0.5 s.
    for (quantile, wait, run) in [("0.5", 3.0, 0.3), ("0.95", 80.8, 0.48), ("0.99", 96.16, 0.496)] {
        let labels = format!(r#"{{task_type="email.send",quantile="{quantile}"}}"#);
        close(&format!("task_wait_seconds{labels}"), wait);
        close(&format!("task_run_seconds{labels}"), run);
    }
}

/// An agent that asks for one format and gets the other finds counters without a type.
#[tokio::test]
async fn metrics_come_in_the_format_that_accept_prefers() {
    let database = TestDatabase::create().await;
    let public = [("STARTER__TELEMETRY__METRICS_PUBLIC", "true")];
    let server = Running::start("server", &database, &public).await;
    let metrics = async |accept: Option<&str>| {
        let request = client().get(server.url().unwrap() + "/metrics");
        let answer = match accept {
            None => request,
            Some(accept) => request.header("accept", accept),
        };
        let answer = answer.send().await.unwrap();
        let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
        (content_type, answer.text().await.unwrap())
    };
    for accept in [None, Some("*/*"), Some("text/plain;version=0.0.4;q=0.5,*/*;q=0.1")] {
        let (content_type, text) = metrics(accept).await;
        assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8", "{accept:?}");
        assert!(text.contains("# TYPE starter_http_requests_total counter\n"), "{text}");
        assert!(!text.contains("# EOF"), "{text}");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            let typed = text.contains(&format!("# TYPE {name} counter\n"));
            assert!(typed || !name.ends_with("_total"), "{line} has no type in\n{text}");
        }
    }
    let (content_type, text) =
        metrics(Some("application/openmetrics-text;version=1.0.0,text/plain;q=0.3")).await;
    assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(text.contains("# TYPE starter_http_requests counter\n") && text.ends_with("# EOF\n"), "{text}");
}
