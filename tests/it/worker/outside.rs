//! Tasks that reach out: mail, webhooks, files.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::BoxFuture;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::SecretString;
use serde_json::{Value, json};
use starter::{
    actors::worker,
    config::{Config, Smtp as Server, SmtpTls},
    domain::{Email, Result, Role, User, UserId, Username, task::NewTask},
    tasks::{
        Registry, Services,
        files::Files,
        mail::{Directory, Smtp},
        services::UserDirectory,
        webhook::Webhooks,
    },
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::workshop::{Workshop, in_workshop, quick, task};

pub(super) const KEY: &[u8] = b"a key of thirty-two bytes, or so";

/// A mail server (RFC 5321) that answers RCPT with `verdict`, and hands out the mails that it took.
async fn mail_server(verdict: &'static str) -> (u16, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (taken, mails) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, verdict, taken.clone()));
        }
    });
    (port, mails)
}

async fn converse(mut stream: TcpStream, verdict: &str, taken: mpsc::UnboundedSender<String>) -> Option<()> {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 test ESMTP\r\n").await.ok()?;
    while let Some(line) = lines.next_line().await.ok()? {
        let answer = match line.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" => "250-test\r\n250 AUTH PLAIN".to_owned(),
            "AUTH" if line.contains(&STANDARD.encode("\0me\0secret")) => "235 welcome".to_owned(),
            "AUTH" => "535 who?".to_owned(),
            // Like most servers, this one knows no SMTPUTF8 (RFC 6531).
            "MAIL" | "RCPT" if !line.is_ascii() => "553 not ASCII".to_owned(),
            "RCPT" => verdict.to_owned(),
            "DATA" => {
                write.write_all(b"354 go on\r\n").await.ok()?;
                let mut mail = String::new();
                while let Some(line) = lines.next_line().await.ok()?.filter(|line| line != ".") {
                    mail.push_str(&line);
                    mail.push('\n');
                }
                // The longest line that servers have to take (RFC 5321 4.5.3.1.6), without its end.
                let too_long = mail.lines().any(|line| line.len() > 998);
                taken.send(mail).ok()?;
                if too_long { "500 line too long".to_owned() } else { "250 taken".to_owned() }
            }
            "QUIT" => "221 bye".to_owned(),
            _ => "250 well".to_owned(),
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await.ok()?;
    }
    Some(())
}

pub(super) fn smtp(port: u16) -> Services {
    let credentials = Some(("me".to_owned(), SecretString::from("secret")));
    let server = Server { host: "127.0.0.1".into(), port, credentials, tls: SmtpTls::None };
    let mailer = Smtp::new(&server, "starter <no-reply@example.com>".parse().unwrap()).unwrap();
    Services { mailer: Arc::new(mailer), ..Services::default() }
}

pub(super) fn mail() -> NewTask {
    let text = "Hello Ada,\n\n.and a dot at the start of a line";
    let payload =
        json!({"to": "Ada <ada@example.org>", "subject": "Grüße", "text": text, "html": "<p>Hello</p>"});
    NewTask { max_attempts: 1, ..task("email.send", payload) }
}

pub(super) async fn run_with(workshop: &Workshop, services: Services, task: NewTask) -> Value {
    let _worker = workshop.worker_with(Registry::builtin(), quick(), Arc::new(services)).await;
    let id = workshop.enqueue(task).await;
    workshop.finished(id).await
}

#[test]
fn a_mail_goes_to_the_mail_server_as_it_was_ordered() {
    in_workshop(async |workshop| {
        let (port, mut mails) = mail_server("250 fine").await;
        let task = mail();
        let id = task.id;
        let row = run_with(&workshop, smtp(port), task).await;
        assert_eq!((&row["status"], &row["last_error"]), (&json!("succeeded"), &json!(null)));
        let mail = mails.recv().await.unwrap();
        for expected in [
            "To: Ada <ada@example.org>",
            "From: starter <no-reply@example.com>",
            "multipart/alternative",
            "Auto-Submitted: auto-generated",
            "..and a dot",
            &format!("Message-ID: <{id}@example.com>"),
        ] {
            assert!(mail.contains(expected), "{expected} is not in:\n{mail}");
        }
    });
}

#[test]
fn a_mail_to_an_international_domain_is_addressed_in_ascii() {
    in_workshop(async |workshop| {
        let (port, mut mails) = mail_server("250 fine").await;
        let _worker = workshop.worker_with(Registry::builtin(), quick(), Arc::new(smtp(port))).await;
        for (to, header) in [
            ("Ada@bücher.example", "To: Ada@xn--bcher-kva.example\n"),
            ("Ada <ada@xn--bcher-kva.example>", "To: Ada <ada@xn--bcher-kva.example>\n"),
            ("Ada <ada@例え.テスト>", "To: Ada <ada@xn--r8jz45g.xn--zckzah>\n"),
        ] {
            let payload = json!({"to": to, "subject": "s", "text": "t"});
            let id = workshop.enqueue(NewTask { max_attempts: 1, ..task("email.send", payload) }).await;
            let row = workshop.finished(id).await;
            assert_eq!((&row["status"], &row["last_error"]), (&json!("succeeded"), &json!(null)), "{to}");
            let mail = mails.recv().await.unwrap();
            assert!(mail.contains(header) && mail.is_ascii(), "{mail}");
        }

        // Taken by older rules: no mail server is asked about it for hours.
        let payload = json!({"to": "übung@example.org", "subject": "s", "text": "t"});
        let id = workshop.enqueue(NewTask { max_attempts: 5, ..task("email.send", payload) }).await;
        let row = workshop.finished(id).await;
        assert_eq!((&row["status"], &row["attempt"]), (&json!("failed"), &json!(1)));
        assert_eq!(row["last_error"], "the address cannot be used");
    });
}

#[test]
fn every_subject_and_name_that_is_taken_is_delivered_as_it_was_given() {
    in_workshop(async |workshop| {
        let (port, mut mails) = mail_server("250 fine").await;
        let _worker = workshop.worker_with(Registry::builtin(), quick(), Arc::new(smtp(port))).await;
        for (subject, expected) in [
            ("x".repeat(998), "Subject: =?utf-8?B?".to_owned()),
            ("=?utf-8?B?abc?=".to_owned(), "Subject: =?utf-8?B?PT91dGYtOD9CP2FiYz89?=\n".to_owned()),
            ("Your invoice".to_owned(), "Subject: Your invoice\n".to_owned()),
        ] {
            let to = "=?utf-8?B?abc?= <ada@example.org>";
            let payload = json!({"to": to, "subject": subject, "text": "t"});
            let id = workshop.enqueue(NewTask { max_attempts: 1, ..task("email.send", payload) }).await;
            let row = workshop.finished(id).await;
            assert_eq!((&row["status"], &row["last_error"]), (&json!("succeeded"), &json!(null)));
            let mail = mails.recv().await.unwrap();
            assert!(mail.contains(&expected), "{mail}");
            assert!(mail.contains("To: =?utf-8?B?PT91dGYtOD9CP2FiYz89?= <ada@example.org>\n"), "{mail}");
        }
    });
}

#[test]
fn a_mail_that_the_server_refuses_for_good_is_a_dead_letter_and_one_put_off_is_tried_again() {
    in_workshop(async |workshop| {
        for (verdict, status, why) in [
            ("550 no such user", "failed", "the mail server refused it with code 550"),
            ("451 come back later", "retrying", "the mail server put it off with code 451"),
        ] {
            let (port, _mails) = mail_server(verdict).await;
            let worker = workshop.worker_with(Registry::builtin(), quick(), Arc::new(smtp(port))).await;
            let id = workshop.enqueue(NewTask { max_attempts: 5, ..mail() }).await;
            let row = workshop.until(id, status).await;
            assert_eq!((&row["attempt"], &row["last_error"]), (&json!(1), &json!(why)));
            worker.shift.drain(Duration::ZERO).await;
        }
    });
}

#[test]
fn a_mail_server_that_is_away_is_asked_again() {
    in_workshop(async |workshop| {
        let _worker = workshop.worker_with(Registry::builtin(), quick(), Arc::new(smtp(1))).await;
        let id = workshop.enqueue(NewTask { max_attempts: 5, ..mail() }).await;
        let row = workshop.until(id, "retrying").await;
        assert_eq!(row["last_error"], "the mail server could not be reached or understood");
    });
}

#[test]
fn a_mail_becomes_a_file_that_only_its_user_can_read() {
    use std::os::unix::fs::PermissionsExt as _;
    in_workshop(async |workshop| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/mail");
        let mailer = Directory::new(path.clone(), "no-reply@example.com".parse().unwrap());
        let services = Services { mailer: Arc::new(mailer), ..Services::default() };
        let task = mail();
        let file = path.join(format!("{}.eml", task.id));
        assert_eq!(run_with(&workshop, services, task).await["status"], "succeeded");
        assert!(std::fs::read_to_string(&file).unwrap().contains("To: Ada <ada@example.org>"));
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1);
    });
}

pub(super) struct Request {
    pub(super) head: String,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: String,
}

/// A receiver of webhooks that always answers this.
pub(super) async fn receiver(answer: &'static str) -> (String, mpsc::UnboundedReceiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (seen, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(receive(stream, answer, seen.clone()));
        }
    });
    (url, requests)
}

async fn receive(mut stream: TcpStream, answer: &str, seen: mpsc::UnboundedSender<Request>) -> Option<()> {
    let (read, mut write) = stream.split();
    let mut reader = BufReader::new(read);
    let (mut head, mut headers) = (String::new(), HashMap::new());
    reader.read_line(&mut head).await.ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).await.ok()?;
    seen.send(Request { head, headers, body: String::from_utf8(body).ok()? }).ok()?;
    let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    write.write_all(answer.as_bytes()).await.ok()
}

pub(super) fn webhooks(allow_private: bool) -> Services {
    let webhooks = Webhooks::new(KEY.to_vec(), allow_private, Duration::from_secs(5)).unwrap();
    Services { webhooks: Some(webhooks), ..Services::default() }
}

pub(super) fn hook(url: &str) -> NewTask {
    let payload = json!({"url": url, "event": "invoice.paid", "data": {"amount": 7}});
    NewTask { max_attempts: 5, ..task("webhook.deliver", payload) }
}

#[test]
fn a_webhook_is_delivered_signed_as_the_standard_has_it() {
    in_workshop(async |workshop| {
        let (url, mut requests) = receiver("204 No Content").await;
        let task = hook(&url);
        let id = task.id;
        let row = run_with(&workshop, webhooks(true), task).await;
        assert_eq!((&row["status"], &row["result"]["status"]), (&json!("succeeded"), &json!(204)));
        let request = requests.recv().await.unwrap();
        assert!(request.head.starts_with("POST /hook "));
        let header = |name: &str| request.headers[name].as_str();
        assert_eq!(
            (header("webhook-id"), header("content-type")),
            (id.to_string().as_str(), "application/json")
        );
        let sent: i64 = header("webhook-timestamp").parse().unwrap();
        assert!((chrono::Utc::now().timestamp() - sent).abs() < 60);
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(KEY).unwrap();
        mac.update(format!("{id}.{sent}.{}", request.body).as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        assert_eq!(header("webhook-signature"), format!("v1,{signature}"));
        let body: Value = serde_json::from_str(&request.body).unwrap();
        assert_eq!((&body["type"], &body["data"]), (&json!("invoice.paid"), &json!({"amount": 7})));
    });
}

#[test]
fn what_a_receiver_answers_decides_whether_a_webhook_is_tried_again() {
    in_workshop(async |workshop| {
        let worker = workshop.worker_with(Registry::builtin(), quick(), Arc::new(webhooks(true))).await;
        for (answer, status, least_wait) in [
            ("410 Gone", "failed", 0.0),
            ("302 Found\r\nlocation: http://127.0.0.1:1/", "failed", 0.0),
            ("500 Oops", "retrying", 0.0),
            ("404 Not Found", "retrying", 0.0),
            ("429 Slow Down\r\nretry-after: 1000", "retrying", 900.0),
            ("503 Later\r\nretry-after: 99999999", "retrying", 86_000.0),
        ] {
            let (url, _requests) = receiver(answer).await;
            let id = workshop.enqueue(hook(&url)).await;
            workshop.until(id, status).await;
            let wait =
                format!("select extract(epoch from run_at - now()) as wait from tasks where id = '{id}'");
            let wait = workshop.rows(&wait).await[0]["wait"].as_f64().unwrap();
            assert!(wait >= least_wait - 5.0 && wait < 87_000.0 || least_wait == 0.0, "{answer}: {wait}");
            let code = answer.get(..3).unwrap();
            let error = workshop.row(id).await["last_error"].as_str().unwrap().to_owned();
            assert!(error.contains(code), "{answer}: {error}");
        }
        drop(worker);
    });
}

#[test]
fn no_webhook_goes_inside() {
    in_workshop(async |workshop| {
        let (url, mut requests) = receiver("200 OK").await;
        let port = url.rsplit_once(':').unwrap().1.to_owned();
        let _worker = workshop.worker_with(Registry::builtin(), quick(), Arc::new(webhooks(false))).await;
        for host in [
            "127.0.0.1",
            "localhost",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "2130706433",
            "0x7f.1",
            "169.254.169.254",
        ] {
            let id = workshop.enqueue(hook(&format!("http://{host}:{port}"))).await;
            let row = workshop.finished(id).await;
            assert_eq!(row["status"], "failed", "{host}");
            assert_eq!(row["last_error"], "the address is private, and webhooks may not go there", "{host}");
        }
        assert!(requests.try_recv().is_err());
    });
}

#[test]
fn without_a_secret_webhooks_are_refused() {
    in_workshop(async |workshop| {
        let row = run_with(&workshop, Services::default(), hook("https://example.com/")).await;
        assert_eq!(row["last_error"], "no signing secret is configured for webhooks");
    });
}

/// 2,500 users, the first of whom is an admin.
#[derive(Debug)]
struct People(Vec<User>);

impl People {
    fn new() -> Self {
        let user = |n: usize| User {
            id: UserId::new(),
            username: Username::from_stored(format!("=cmd{n}"), format!("=cmd{n}")),
            email: Email::parse(&format!("u{n}@example.com")).unwrap(),
            role: if n == 0 { Role::Admin } else { Role::User },
            is_active: true,
            email_verified: false,
            created_at: chrono::DateTime::UNIX_EPOCH,
            updated_at: chrono::DateTime::UNIX_EPOCH,
            last_login_at: None,
        };
        Self((0..2_500).map(user).collect())
    }
}

impl UserDirectory for People {
    fn find(&self, id: UserId) -> BoxFuture<'_, Result<Option<User>>> {
        Box::pin(async move { Ok(self.0.iter().find(|user| user.id == id).cloned()) })
    }

    fn page(&self, after: Option<UserId>, at_most: u32) -> BoxFuture<'_, Result<Vec<User>>> {
        let behind = self.0.iter().filter(move |user| after.is_none_or(|after| user.id > after));
        Box::pin(async move { Ok(behind.take(at_most as usize).cloned().collect()) })
    }
}

async fn report(workshop: &Workshop, directory: &Path, by: impl Fn(&People) -> UserId) -> Value {
    let people = People::new();
    let owner = by(&people);
    let insert = format!(
        "insert into users (id, username, username_canon, email, email_canon, password_hash)
         values ('{owner}', 'x', 'x', 'x@x', 'x@x', 'x')"
    );
    workshop.database.sql(&insert).await;
    let files = Some(Files::new(directory.to_owned()));
    let services = Services { users: Arc::new(people), files, ..Services::default() };
    let task = NewTask { created_by: Some(owner), ..task("report.users_csv", json!({})) };
    run_with(workshop, services, task).await
}

#[test]
fn a_report_of_all_users_is_a_file_that_a_spreadsheet_can_open_without_harm() {
    in_workshop(async |workshop| {
        let directory = tempfile::tempdir().unwrap();
        let row = report(&workshop, directory.path(), |people| people.0[0].id).await;
        assert_eq!(row["status"], "succeeded", "{row}");
        let (id, file) = (row["id"].as_str().unwrap(), &row["result"]["file"]);
        assert_eq!(
            (&row["result"]["users"], &file["url"]),
            (&json!(2_500), &json!(format!("/api/v1/tasks/{id}/file")))
        );
        let contents = std::fs::read_to_string(directory.path().join(id)).unwrap();
        assert_eq!(file["bytes"], contents.len());
        assert_eq!(contents.lines().count(), 2_501);
        assert!(contents.contains(",\"'=cmd2499\",\"u2499@example.com\",\"user\","));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    });
}

#[test]
fn a_report_is_for_admins_only() {
    in_workshop(async |workshop| {
        let directory = tempfile::tempdir().unwrap();
        let row = report(&workshop, directory.path(), |people| people.0[1].id).await;
        assert_eq!((&row["status"], &row["attempt"]), (&json!("failed"), &json!(1)));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    });
}

#[test]
fn the_outfit_is_as_configured() {
    let config = |secret: &str| {
        let pairs = [("STARTER__WEBHOOK__SECRET", secret), ("STARTER__MAIL__URL", "smtp://h:2525?tls=none")];
        Config::from_pairs(pairs.into_iter().filter(|(_, value)| !value.is_empty())).unwrap()
    };
    let outfit = |config: &Config| {
        let none = Services::default();
        worker::services(config, none.letters, none.users, none.sweeper).unwrap()
    };
    let secret = format!("whsec_{}", STANDARD.encode(KEY));
    assert!(outfit(&config(&secret)).webhooks.is_some());
    let without = outfit(&config(""));
    assert!(without.webhooks.is_none());
    assert_eq!(format!("{:?}", without.mailer), "Smtp(\"h:2525\")");
}
