//! Webhooks and mails to servers that take their time: no attempt takes longer than it may, and what was delivered is
//! not delivered again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use starter::{
    actors::worker::Census,
    domain::task::NewTask,
    tasks::{Registry, Services, webhook::Webhooks},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{
    outside::{KEY, hook, mail, smtp},
    workshop::{PATIENCE, in_workshop, quick},
};
use crate::support::eventually;

const NOTHING: &str = "";
const HALF_A_HEAD: &str = "HTTP/1.1 200 OK\r\nx-slow: ";
const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n";

/// Says this much, then one byte more now and then, without end. Nothing more if it said nothing. Tells where it is, and
/// how many of its clients are there.
async fn slow_receiver(says: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let clients = Arc::new(AtomicUsize::new(0));
    let there = Arc::clone(&clients);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let there = Arc::clone(&there);
            tokio::spawn(async move {
                there.fetch_add(1, Ordering::SeqCst);
                dawdle(stream, says).await;
                there.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (url, clients)
}

/// Until the client goes away. An answer before there is a question would be an error.
async fn dawdle(stream: TcpStream, says: &str) -> Option<()> {
    let (mut read, mut write) = stream.into_split();
    let mut heard = [0; 4_096];
    read.read(&mut heard).await.ok().filter(|bytes| *bytes > 0)?;
    let trickle = async {
        write.write_all(says.as_bytes()).await.ok()?;
        while !says.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            write.write_all(b"x").await.ok()?;
        }
        std::future::pending().await
    };
    let listen = async { while read.read(&mut heard).await.is_ok_and(|bytes| bytes > 0) {} };
    tokio::select! { gone = trickle => gone, () = listen => None }
}

fn patience_of(patience: Duration) -> Arc<Services> {
    let webhooks = Webhooks::new(KEY.to_vec(), true, patience).unwrap();
    Arc::new(Services { webhooks: Some(webhooks), ..Services::default() })
}

fn within_a_second(url: &str) -> NewTask {
    NewTask { timeout_secs: 1, ..hook(url) }
}

#[test]
fn a_receiver_that_never_answers_fails_the_attempt_which_is_tried_again() {
    in_workshop(async |workshop| {
        let services = patience_of(Duration::from_secs(1));
        let worker = workshop.worker_with(Registry::builtin(), quick(), services).await;
        for says in [NOTHING, HALF_A_HEAD] {
            let (url, clients) = slow_receiver(says).await;
            let id = workshop.enqueue(hook(&url)).await;
            let row = workshop.until(id, "retrying").await;
            assert_eq!(row["last_error"], "the receiver did not answer in time", "{says}");
            assert_eq!((&row["attempt"], &row["retry_count"]), (&json!(1), &json!(1)));
            assert_eq!(workshop.attempts(id).await[0]["outcome"], "failed");
            // Not to be there when the next one is looked at.
            workshop.database.sql("delete from tasks").await;
            eventually(PATIENCE, async || clients.load(Ordering::SeqCst) == 0).await;
        }
        assert_eq!(worker.live.ask(Census).await.unwrap().running, 0);
    });
}

#[test]
fn a_delivery_ends_when_the_tasks_time_is_up_or_it_is_called_off() {
    in_workshop(async |workshop| {
        let services = patience_of(Duration::from_secs(300));
        let _worker = workshop.worker_with(Registry::builtin(), quick(), services).await;
        for says in [NOTHING, HALF_A_HEAD] {
            let (url, clients) = slow_receiver(says).await;
            let late = workshop.enqueue(within_a_second(&url)).await;
            let row = workshop.until(late, "retrying").await;
            assert_eq!(row["last_error"], "not done within 1 s", "{says}");
            assert_eq!(workshop.attempts(late).await[0]["outcome"], "timed_out");
            workshop.database.sql("delete from tasks").await;
            let off = workshop.enqueue(hook(&url)).await;
            eventually(PATIENCE, async || clients.load(Ordering::SeqCst) == 1).await;
            workshop.call_off(off).await;
            assert_eq!(workshop.finished(off).await["status"], "cancelled", "{says}");
            eventually(PATIENCE, async || clients.load(Ordering::SeqCst) == 0).await;
        }
    });
}

#[test]
fn a_mail_server_that_never_answers_holds_nobody_beyond_the_tasks_time() {
    in_workshop(async |workshop| {
        let (url, clients) = slow_receiver(NOTHING).await;
        let port = url.trim_end_matches("/hook").rsplit_once(':').unwrap().1.parse().unwrap();
        let worker = workshop.worker_with(Registry::builtin(), quick(), Arc::new(smtp(port))).await;
        let off = workshop.enqueue(mail()).await;
        eventually(PATIENCE, async || clients.load(Ordering::SeqCst) == 1).await;
        workshop.call_off(off).await;
        assert_eq!(workshop.finished(off).await["status"], "cancelled");
        let late = workshop.enqueue(NewTask { timeout_secs: 1, max_attempts: 5, ..mail() }).await;
        assert_eq!(workshop.until(late, "retrying").await["last_error"], "not done within 1 s");
        assert_eq!(workshop.attempts(late).await[0]["outcome"], "timed_out");
        workshop.database.sql("delete from tasks").await;
        eventually(PATIENCE, async || clients.load(Ordering::SeqCst) == 0).await;
        assert_eq!(worker.live.ask(Census).await.unwrap().running, 0);
    });
}

#[test]
fn what_a_receiver_took_is_delivered_though_its_answer_has_no_end() {
    in_workshop(async |workshop| {
        // Whichever of the two times is up first.
        for (patience, task) in [(1, hook as fn(&str) -> NewTask), (300, within_a_second)] {
            let services = patience_of(Duration::from_secs(patience));
            let worker = workshop.worker_with(Registry::builtin(), quick(), services).await;
            let (url, clients) = slow_receiver(HEAD).await;
            let id = workshop.enqueue(task(&url)).await;
            eventually(PATIENCE, async || {
                let row = workshop.row(id).await;
                row["finished_at"] != Value::Null || row["last_error"] != Value::Null
            })
            .await;
            let row = workshop.row(id).await;
            assert_eq!((&row["status"], &row["last_error"]), (&json!("succeeded"), &Value::Null));
            assert_eq!((&row["result"]["status"], &row["attempt"]), (&json!(200), &json!(1)));
            eventually(PATIENCE, async || clients.load(Ordering::SeqCst) == 0).await;
            worker.shift.drain(Duration::ZERO).await;
        }
    });
}
