//! Crowds: many at the same door at once, and those who hold it without going through.

use std::{io::Write as _, net::TcpStream};

use futures_util::future::join_all;

use super::*;

/// As configured by default, but for the limits per address: all come from one.
const UNLIMITED: [(&str, &str); 3] = [
    ("STARTER__RATE_LIMIT__PER_SECOND", "0"),
    ("STARTER__RATE_LIMIT__AUTH_PER_MINUTE", "0"),
    ("RUST_LOG", "warn"),
];
/// For one answer, on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// KiB, from `/proc/PID/status`.
fn memory(of: &Running, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", of.pid().as_raw_nonzero())).unwrap();
    let found = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    found.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_who_want_a_name_at_two_servers_gets_it() {
    let database = TestDatabase::create().await;
    let here = Running::start("server", &database, &UNLIMITED).await;
    let there = Running::start("server", &database, &UNLIMITED).await;
    let tries = (0..50).map(|number| {
        let server = if number % 2 == 0 { &here } else { &there };
        async move {
            let email = format!("nova{number}@example.com");
            let body = json!({ "username": "nova", "email": email, "password": PASSWORD });
            loop {
                let (status, body) = server.post("", "/api/v1/auth/register", body.clone()).await;
                if status != 503 {
                    break (status, body);
                }
                assert_eq!(body["code"], "overloaded");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    let answers = join_all(tries).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == 201).count(), 1);
    let refused = answers.iter().filter(|(_, body)| body["code"] == "account_exists").count();
    assert_eq!(refused, 49);
    assert_eq!(database.count("select count(*) from users where username = 'nova'").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_log_ins_at_once_take_the_memory_of_two_and_stop_nobody_else() {
    let database = TestDatabase::create().await;
    let settings = [
        &UNLIMITED[..],
        &[("STARTER__AUTH__ARGON2_MEMORY_KIB", "19456"), ("STARTER__AUTH__ARGON2_THREADS", "2")],
    ]
    .concat();
    let server = Running::start("server", &database, &settings).await;
    for number in 0..20 {
        server.register(&format!("user{number}")).await;
    }
    let before = memory(&server, "VmRSS:");
    let tries = (0..200).map(|number| {
        let login = json!({ "login": format!("user{}", number % 20), "password": PASSWORD });
        let request = client().post(server.url().unwrap() + "/api/v1/auth/login").json(&login);
        async move {
            let answer = request.send().await.unwrap();
            let (status, again) = (answer.status().as_u16(), answer.headers().get("retry-after").cloned());
            assert!(status == 200 || status == 503 && again.is_some(), "{status} {again:?}");
            status
        }
    });
    let watch = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let asked = Instant::now();
            assert_eq!(server.get("", "/health/live").await.unwrap().0, 200);
            slowest = slowest.max(asked.elapsed());
        }
        slowest
    };
    let (answers, slowest) = tokio::join!(join_all(tries), watch);
    assert!(answers.iter().filter(|status| **status == 200).count() >= 20, "{answers:?}");
    assert!(slowest < SOON, "{slowest:?}");
    let most = memory(&server, "VmHWM:").saturating_sub(before);
    assert!(most < 2 * 20_480 + 65_536, "{most} KiB more than at rest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_connections_and_says_nothing_more_keeps_nobody_out() {
    let database = TestDatabase::create().await;
    let server = Running::start("server", &database, &UNLIMITED).await;
    let session = server.register("nova").await;
    let place = server.url().unwrap().trim_start_matches("http://").to_owned();
    let half = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{";
    let held: Vec<TcpStream> = (0..500)
        .map(|_| {
            let mut stream = TcpStream::connect(&place).unwrap();
            stream.write_all(half.as_bytes()).unwrap();
            stream
        })
        .collect();
    for _ in 0..10 {
        let asked = Instant::now();
        server.log_in("nova").await;
        assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    }
    drop(held);
    assert_eq!(server.get(&session, "/api/v1/auth/me").await.unwrap().0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_much_and_reads_nothing_keeps_nobody_out() {
    let database = TestDatabase::create().await;
    let server = Running::start("server", &database, &UNLIMITED).await;
    let admin = server.log_in("root-of-all").await;
    database
        .sql(
            "insert into users (id, username, username_canon, email, email_canon, password_hash, role)
             select gen_random_uuid(), 'user' || n, 'user' || n, 'user' || n || '@example.com', 'user' || n || '@example.com', 'x', 'user'
             from generate_series(1, 100) n",
        )
        .await;
    let place = server.url().unwrap().trim_start_matches("http://").to_owned();
    let one =
        format!("GET /api/v1/users?limit=100 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {admin}\r\n\r\n");
    let stalled: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(&place).unwrap();
            stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
            // The server may stop reading before the last is sent.
            let _full = stream.write_all(one.repeat(20).as_bytes());
            stream
        })
        .collect();
    for _ in 0..20 {
        let asked = Instant::now();
        assert_eq!(server.get(&admin, "/api/v1/auth/me").await.unwrap().0, 200);
        assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    }
    drop(stalled);
    assert_eq!(server.get("", "/health").await.unwrap().0, 200);
}
