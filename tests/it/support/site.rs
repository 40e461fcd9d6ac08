//! The API over real sockets: tasks, accounts, sessions and API keys of one process, on a database of its own.

use std::{
    net::{SocketAddr, TcpListener},
    sync::mpsc,
    thread,
    time::Duration,
};

use actix_server::ServerHandle;
use actix_web::web;
use reqwest::{Client, Method, RequestBuilder, Response, header::HeaderMap};
use serde_json::Value;
use starter::{
    actors::{api_keys::IssueKey, dispatcher::Intake},
    domain::{Permission, UserId, api_key::KeyName, issued_key::NewKey},
    http::{self, Draining, Settings},
    tasks::{Registry, files::Files},
};
use tempfile::TempDir;

use super::{
    db::TestDatabase,
    office,
    people::PASSWORD,
    queue::Desk,
    stores::{Stores, origin},
};

/// The API of one process.
pub(crate) struct Site {
    pub(crate) database: TestDatabase,
    pub(crate) stores: Stores,
    base: String,
    client: Client,
    handle: ServerHandle,
    thread: Option<thread::JoinHandle<()>>,
    /// What tasks made.
    pub(crate) files: TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Told {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_else(|| panic!("no problem: {self:?}")).to_owned()
    }

    /// What one answer can be told from another by.
    pub(crate) fn essence(&self) -> (u16, Vec<(String, String)>, Value) {
        let mut body = self.json();
        body["request_id"] = Value::Null;
        let of_each = |name: &str| ["date", "x-request-id"].contains(&name);
        let kept = self.headers.iter().filter(|(name, _)| !of_each(name.as_str()));
        let mut headers: Vec<_> =
            kept.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        headers.sort();
        (self.status, headers, body)
    }

    /// The fields that a 422 names.
    pub(crate) fn fields(&self) -> Vec<String> {
        assert_eq!((self.status, self.code().as_str()), (422, "validation_failed"), "{self:?}");
        let errors = self.json()["errors"].as_array().unwrap().clone();
        errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
    }
}

impl Site {
    pub(crate) async fn open() -> Self {
        Self::with(&[]).await
    }

    /// With accounts configured by these.
    pub(crate) async fn with(pairs: &[(&str, &str)]) -> Self {
        Self::configured(pairs, Intake::new(Registry::builtin())).await
    }

    /// With these types of tasks open to users, who may send `daily` mails.
    pub(crate) async fn opening(task_types: &[&str], daily: u32) -> Self {
        let registry = Registry::builtin().open_to_users(task_types);
        Self::configured(&[], Intake::new(registry).with_daily_mails(daily)).await
    }

    async fn configured(pairs: &[(&str, &str)], intake: Intake) -> Self {
        let database = TestDatabase::create().await;
        let desk = Desk::open(&database).await;
        let stores = Stores::start(&database).await;
        let accounts = office::accounts(&database, &stores, pairs).await;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (tell, told) = mpsc::channel();
        let (live, events, of) = (desk.live, desk.events, stores.clone());
        let files = tempfile::tempdir().unwrap();
        let shelf = Files::new(files.path().to_owned());
        let thread = thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let state = move |services: &mut web::ServiceConfig| {
                    services
                        .app_data(web::Data::new(live.clone()))
                        .app_data(web::Data::new(shelf.clone()))
                        .app_data(web::Data::new(accounts.clone()))
                        .app_data(web::Data::new(events.clone()))
                        .app_data(web::Data::new(intake.clone()))
                        .app_data(web::Data::new(of.sessions.clone()))
                        .app_data(web::Data::new(of.keys.clone()));
                };
                let settings =
                    Settings { workers: 1, rate_limit: None, auth_per_minute: None, ..Settings::default() };
                let server =
                    http::serve(listener, settings, Draining::default(), http::routes(), state).unwrap();
                tell.send(server.handle()).unwrap();
                server.await.unwrap();
            });
        });
        let handle = told.recv().unwrap();
        // reqwest wants one even for plain HTTP; a second installation changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
        Self { database, stores, base, client, handle, thread: Some(thread), files }
    }

    /// For those who speak HTTP themselves.
    pub(crate) fn address(&self) -> SocketAddr {
        self.base.trim_start_matches("http://").parse().unwrap()
    }

    /// Without a credential.
    pub(crate) fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub(crate) fn request(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).bearer_auth(token)
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Told {
        read(self.request(Method::GET, path, token)).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: &Value) -> Told {
        read(self.request(Method::POST, path, token).json(body)).await
    }

    pub(crate) async fn send(&self, method: Method, path: &str, token: &str) -> Told {
        read(self.request(method, path, token)).await
    }

    /// The token of a session of a new user.
    pub(crate) async fn log_in(&self, name: &str, role: &str) -> (UserId, String) {
        let user = self.database.user_with_role(name, role).await;
        (user, self.stores.open(user).await.token.expose().to_owned())
    }

    /// A key of the user who has this session.
    pub(crate) async fn key(&self, user: UserId, permissions: &[Permission]) -> String {
        let token = self.stores.open(user).await.token;
        let by = self.stores.resolve(&token).await.unwrap();
        let key = NewKey {
            name: KeyName::parse("test").unwrap(),
            permissions: permissions.iter().copied().collect(),
            expires_at: None,
        };
        let shown = self.stores.keys.ask(IssueKey { key, by, origin: origin() }).await.unwrap();
        shown.secret.expose().to_owned()
    }
}

/// Sends a request and reads the answer, of which holds what holds for every answer.
pub(crate) async fn read(request: RequestBuilder) -> Told {
    let answer: Response = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let told = Told { status, headers, text: answer.text().await.unwrap() };
    told.assert_sound();
    told
}

impl Told {
    /// Security.md, I0. Nothing of the inside, nothing of what was sent, and the headers that every answer has.
    fn assert_sound(&self) {
        assert!(self.status != 500, "{self:?}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(self.header(name), Some(value), "{name}: {self:?}");
        }
        assert!(self.header("content-security-policy").unwrap().contains("default-src 'none'"), "{self:?}");
        assert!(self.header("server").is_none() && self.header("set-cookie").is_none(), "{self:?}");
        assert!(!self.header("x-request-id").unwrap().is_empty(), "{self:?}");
        if self.status == 401 {
            assert!(
                self.header("www-authenticate").unwrap().starts_with("Bearer realm=\"starter\""),
                "{self:?}"
            );
        }
        if self.status == 429 || self.status == 503 {
            assert!(self.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1, "{self:?}");
        }
        if self.status >= 400 && !self.text.is_empty() {
            assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
            let problem = self.json();
            assert_eq!(problem["status"], self.status, "{self:?}");
            assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"), "{self:?}");
            for word in ["$argon2", "SELECT", "diesel", "serde", "panicked", "src/", PASSWORD] {
                assert!(!self.text.contains(word), "{word}: {self:?}");
            }
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
        let Some(thread) = self.thread.take() else { return };
        if !thread::panicking() {
            thread.join().unwrap();
        }
    }
}
