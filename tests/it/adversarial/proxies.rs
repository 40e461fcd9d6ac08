//! What is said of a client's address by somebody on the way, at the real server.

use serde_json::json;

use crate::{
    e2e::{PASSWORD, Running, client},
    edge::{Edge, settings},
    support::db::TestDatabase,
};

#[test]
fn an_address_that_nobody_trusted_claims_is_not_believed() {
    let limit = std::num::NonZeroU32::new(1).zip(std::num::NonZeroU32::new(3));
    let edge = Edge::start(starter::http::Settings { rate_limit: limit, ..settings() });
    let statuses: Vec<u16> = (0..10)
        .map(|n| {
            let request =
                format!("GET /api/v1/users/me HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.{n}\r\n\r\n");
            edge.send(&request).status
        })
        .collect();
    assert!(statuses.contains(&429), "{statuses:?}");
}

async fn behind_a_proxy(database: &TestDatabase) -> Running {
    let settings = [
        ("STARTER__SERVER__TRUSTED_PROXIES", "127.0.0.0/8"),
        ("STARTER__RATE_LIMIT__PER_SECOND", "0"),
        ("STARTER__RATE_LIMIT__AUTH_PER_MINUTE", "0"),
    ];
    Running::start("server", database, &settings).await
}

/// Status and code of a log-in that comes through the proxy.
async fn log_in(server: &Running, forwarded_for: &str, login: &str, password: &str) -> (u16, String) {
    let url = server.url().unwrap() + "/api/v1/auth/login";
    let request = client()
        .post(url)
        .header("x-forwarded-for", forwarded_for)
        .json(&json!({ "login": login, "password": password }));
    let (status, body) = server.send(request, "").await.unwrap();
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tries_from_many_addresses_lock_strangers_out_and_not_the_owner() {
    let database = TestDatabase::create().await;
    let server = behind_a_proxy(&database).await;
    let session = server.register("nova").await;
    let at_home = "198.51.100.7";
    assert_eq!(log_in(&server, at_home, "nova", PASSWORD).await.0, 200);
    let mut answers = Vec::new();
    for n in 0..50 {
        answers.push(log_in(&server, &format!("203.0.113.{n}"), "nova", "a wrong long password").await);
    }
    let (wrong, locked): (Vec<_>, Vec<_>) = answers.iter().partition(|(status, _)| *status == 401);
    assert_eq!((wrong.len(), locked.len()), (10, 40));
    assert!(locked.iter().all(|(status, code)| (*status, code.as_str()) == (429, "account_locked")));
    assert_eq!(log_in(&server, "203.0.113.200", "nova", PASSWORD).await.0, 429);
    assert_eq!(log_in(&server, at_home, "nova", PASSWORD).await.0, 200);
    assert_eq!(server.get(&session, "/api/v1/auth/me").await.unwrap().0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_proxy_says_the_address_that_is_kept_is_one_or_none() {
    let database = TestDatabase::create().await;
    let server = behind_a_proxy(&database).await;
    let session = server.register("nova").await;
    let commas = ",".repeat(4_000);
    for said in ["' OR 1=1--", &commas, "::ffff:1.2.3.4", "1.2.3.4:80", "[::1]:80", "unknown"] {
        assert_eq!(log_in(&server, said, "nova", PASSWORD).await.0, 200, "{said}");
    }
    let (_, sessions) = server.get(&session, "/api/v1/auth/sessions").await.unwrap();
    let kept = sessions["items"].as_array().unwrap();
    assert_eq!(kept.len(), 7);
    for session in kept {
        let address = &session["ip_address"];
        let is_one = address.as_str().is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok());
        assert!(address.is_null() || is_one, "{session}");
    }
    // Newest first; what is no address is the proxy's own.
    let told: Vec<_> =
        kept.iter().map(|session| session["ip_address"].as_str().unwrap_or_default()).collect();
    assert_eq!(told, ["127.0.0.1", "::1", "1.2.3.4", "1.2.3.4", "127.0.0.1", "127.0.0.1", "127.0.0.1"]);
}
