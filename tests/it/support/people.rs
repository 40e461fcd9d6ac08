//! What people do over HTTP, as tests say it.

use reqwest::Method;
use serde_json::{Value, json};

use super::site::{Site, Told, read};

pub(crate) const PASSWORD: &str = "correct horse battery stap";
pub(crate) const OTHER: &str = "another long passphrase 42";
/// The id of nothing.
pub(crate) const NOBODY: &str = "01920f3e-7b6c-7d3a-9c1e-0123456789ab";

#[track_caller]
pub(crate) fn refused(told: &Told, status: u16, code: &str) {
    assert_eq!((told.status, told.code().as_str()), (status, code), "{told:?}");
}

impl Site {
    pub(crate) async fn ask(&self, path: &str, body: &Value) -> Told {
        read(self.anonymous(Method::POST, &format!("/api/v1/auth/{path}")).json(body)).await
    }

    pub(crate) async fn register(&self, username: &str) -> Told {
        let email = format!("{username}@example.com");
        self.ask("register", &json!({"username": username, "email": email, "password": PASSWORD})).await
    }

    pub(crate) async fn enter(&self, login: &str, password: &str) -> Told {
        self.ask("login", &json!({"login": login, "password": password})).await
    }

    /// Registers somebody, and returns the token of a session of his.
    pub(crate) async fn member(&self, username: &str) -> String {
        assert_eq!(self.register(username).await.status, 201);
        self.enter(username, PASSWORD).await.json()["token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn patch(&self, path: &str, token: &str, body: &Value) -> Told {
        read(self.request(Method::PATCH, path, token).json(body)).await
    }

    pub(crate) async fn delete(&self, path: &str, token: &str) -> Told {
        self.send(Method::DELETE, path, token).await
    }
}
