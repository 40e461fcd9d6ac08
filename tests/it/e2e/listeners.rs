//! A thousand who listen to the events of tasks, at one real server that was started with few file descriptors.

use futures_util::future::join_all;
use reqwest::Response;

use super::*;

const LISTENERS: usize = 1_000;
const TASKS: usize = 50;

/// Reads until these words came so often.
async fn heard(stream: &mut Response, words: &str, times: usize) -> String {
    let mut text = String::new();
    while text.matches(words).count() < times {
        let chunk = tokio::time::timeout(LONG, stream.chunk()).await.expect("an event");
        text.push_str(std::str::from_utf8(&chunk.unwrap().expect("the stream goes on")).unwrap());
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_listeners_hear_everything_though_few_descriptors_were_given() {
    let database = TestDatabase::create().await;
    let mut few = Command::new("/bin/sh");
    few.args(["-c", "ulimit -Sn 256 && exec \"$0\" server", env!("CARGO_BIN_EXE_starter")]);
    let settings =
        [("STARTER__RATE_LIMIT__PER_SECOND", "0"), ("STARTER__SERVER__MAX_STREAMS_PER_USER", "1000")];
    let server = Running::spawn_as(&mut few, &database.url(), &settings);
    server.until_ready().await;
    let token = server.register("alice").await;

    let url = server.url().unwrap() + "/api/v1/tasks/events";
    let open = || async { client().get(&url).bearer_auth(&token).send().await.unwrap() };
    let mut ears = join_all((0..LISTENERS).map(|_| open())).await;
    for ear in &mut ears {
        assert_eq!(ear.status(), 200);
        heard(ear, "event: ready", 1).await;
    }
    let wanted: Vec<_> = (0..TASKS).map(|_| json!({ "task_type": "noop" })).collect();
    let (status, body) = server.post(&token, "/api/v1/tasks/batch", json!({ "tasks": wanted })).await;
    assert_eq!(status, 201, "{body}");
    let ids: Vec<_> =
        body["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
    let told = join_all(ears.iter_mut().map(|ear| heard(ear, "event: task", TASKS))).await;
    for text in told {
        assert!(ids.iter().all(|id| text.contains(id)), "{text}");
    }
    // They do not keep others out.
    assert_eq!(server.get(&token, "/api/v1/auth/me").await.unwrap().0, 200);
}

/// The id of the last event that was read.
fn bookmark(text: &str) -> &str {
    text.lines().rev().find_map(|line| line.strip_prefix("id: ")).unwrap()
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams_which_go_on_at_another() {
    let database = TestDatabase::create().await;
    // Longer than anybody waits here: it is not the grace that ends the stream.
    let patient = [("STARTER__SERVER__SHUTDOWN_TIMEOUT_SECS", "600")];
    let mut server = Running::start("server", &database, &patient).await;
    let token = server.register("alice").await;
    let open =
        |server: &Running| client().get(server.url().unwrap() + "/api/v1/tasks/events").bearer_auth(&token);
    let mut stream = open(&server).send().await.unwrap();
    heard(&mut stream, "event: ready", 1).await;
    let first = server.enqueue(&token, json!({})).await;
    let mut text = heard(&mut stream, &first, 1).await;

    server.signal(Signal::TERM);
    let rest = async {
        while let Some(chunk) = stream.chunk().await.unwrap() {
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    };
    tokio::time::timeout(LONG, rest).await.expect("the stream ends");
    assert_eq!(server.exit_code(), Some(0), "{}", server.log());

    let other = Running::start("server", &database, &[]).await;
    let second = other.enqueue(&token, json!({})).await;
    let mut stream = open(&other).header("Last-Event-ID", bookmark(&text)).send().await.unwrap();
    let text = heard(&mut stream, &second, 1).await;
    assert!(text.starts_with("event: ready"), "{text}");
}
