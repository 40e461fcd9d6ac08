//! The edge over real sockets: what the framework, the limits and the table of routes do, with a few routes made for it.

mod access_log;
mod answers;
mod bodies;
mod framing;
mod limits;

pub(crate) mod raw;
mod routes;

use std::{net::TcpListener, sync::mpsc, thread, time::Duration};

use actix_server::ServerHandle;
use starter::http::{self, Draining, Settings};

use raw::{Answer, Peer};

/// A server on a free port, stopped when dropped.
pub(crate) struct Edge {
    address: std::net::SocketAddr,
    draining: Draining,
    handle: ServerHandle,
    thread: Option<thread::JoinHandle<()>>,
}

/// No rate limits, so that tests meet only the limit that they are about.
pub(crate) fn settings() -> Settings {
    Settings { workers: 1, rate_limit: None, auth_per_minute: None, ..Settings::default() }
}

impl Edge {
    pub(crate) fn start(settings: Settings) -> Self {
        Self::start_with(settings, routes::endpoints)
    }

    pub(crate) fn start_with(settings: Settings, endpoints: fn() -> Vec<http::Endpoint>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let draining = Draining::default();
        let shared = draining.clone();
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let server = http::serve(listener, settings, shared, endpoints(), |_| ()).unwrap();
                tell.send(server.handle()).unwrap();
                server.await.unwrap();
            });
        });
        Self { address, draining, handle: told.recv().unwrap(), thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    fn connect(&self) -> Peer {
        Peer::connect(self.address)
    }

    /// One request on a connection of its own.
    pub(crate) fn send(&self, request: &str) -> Answer {
        self.connect().ask(request)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
    }

    fn post(&self, path: &str, body: &str) -> Answer {
        self.send(&post(path, "application/json", body))
    }
}

fn post(path: &str, content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

impl Drop for Edge {
    fn drop(&mut self) {
        // The future needs not be awaited: the command is sent at once.
        drop(self.handle.stop(false));
        let Some(thread) = self.thread.take() else { return };
        if !thread::panicking() {
            thread.join().unwrap();
        }
    }
}

/// What holds for every answer (security.md: I0).
#[track_caller]
fn assert_sound(answer: &Answer) {
    let context = format!("{answer:?}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{context}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{context}");
    assert!(answer.header("content-security-policy").unwrap().contains("default-src 'none'"), "{context}");
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{context}");
    assert_eq!(answer.header("server"), None, "{context}");
    let id = answer.header("x-request-id").expect("a request id");
    assert!(!id.is_empty(), "{context}");
    if answer.status >= 400 && !answer.to_head {
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{context}");
        let problem = answer.json();
        assert_eq!(problem["status"], answer.status, "{context}");
        assert_eq!(problem["request_id"], id, "{context}");
        assert_eq!(problem["type"], format!("/problems/{}", problem["code"].as_str().unwrap()), "{context}");
        for word in ["serde", "diesel", "actix", "panicked", "src/", "invalid type", "line 1"] {
            assert!(!answer.text().contains(word), "{word} in {context}");
        }
    }
    if answer.status == 401 {
        assert!(
            answer.header("www-authenticate").unwrap().starts_with("Bearer realm=\"starter\""),
            "{context}"
        );
    }
}

/// Longer than anything takes that should happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
