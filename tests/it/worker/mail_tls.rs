//! Mail over TLS: without it, or with a certificate that nobody vouches for, neither password nor mail is sent.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{ServerConfig, ServerConnection, pki_types::PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use starter::{
    actors::worker,
    config::Config,
    tasks::{Registry, Services},
};

use super::{
    outside::mail,
    workshop::{PATIENCE, Workshop, in_workshop, quick, rows},
};
use crate::{
    e2e::Running,
    support::{db::TestDatabase, eventually},
};

/// Of localhost and 127.0.0.1, until 2126, vouched for by the authority below. Nothing is kept safe by this key.
const CERTIFICATE: &str = "MIIB3zCCAYagAwIBAgIUJakWcOrZ9SWlN9+lTDTtuiNuaBcwCgYIKoZIzj0EAwIwLDEqMCgGA1UEAwwhQXV0aG9yaXR5IG9mIHRoZSB0ZXN0\
    cyBvZiBzdGFydGVyMCAXDTI2MTEyNjA5NTU0N1oYDzIxMjYxMTAyMDk1NTQ3WjAuMSwwKgYDVQQDDCNtYWlsIHNlcnZlciBvZiB0aGUgdGVz\
    dHMgb2Ygc3RhcnRlcjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABAciWMaaSVNlVKuVhkvYYMUPz2sBDe8OdELSJpuBNZUvItGdZkH9eJQz\
    O5Y9IaYAxTvpO5xZfmEOfl4yh9wZbJijgYEwfzAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwDAYDVR0TAQH/BAIwADATBgNVHSUEDDAK\
    BggrBgEFBQcDATAdBgNVHQ4EFgQUTh5RfpHw52cKG+6eimg/rm/PzSIwHwYDVR0jBBgwFoAUCBU34m0VHkDCKZPyECvuVNW7BxcwCgYIKoZI\
    zj0EAwIDRwAwRAIgHSsD2xGCZ4ePlcr7zBRBNmBkGCaXrj54UYUazcj5/9YCIBPqjEdNnVCO4C8NFp85XuGFdHXIAU69UM3B1CCv8UWY";
const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgvtFv0CzFn+tMan9Kf6QHAUBv19iiNjTv2RRNZ8N72hShRANCAAQHIljGmklT\
    ZVSrlYZL2GDFD89rAQ3vDnRC0iabgTWVLyLRnWZB/XiUMzuWPSGmAMU76TucWX5hDn5eMofcGWyY";
const AUTHORITY: &str = "MIIBvzCCAWWgAwIBAgIURExlxieTBuPIbJj5e0193oSVSWAwCgYIKoZIzj0EAwIwLDEqMCgGA1UEAwwhQXV0aG9yaXR5IG9mIHRoZSB0ZXN0\
    cyBvZiBzdGFydGVyMCAXDTI2MTEyNjA5NTU0N1oYDzIxMjYxMTAyMDk1NTQ3WjAsMSowKAYDVQQDDCFBdXRob3JpdHkgb2YgdGhlIHRlc3Rz\
    IG9mIHN0YXJ0ZXIwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQfzRnUEZvByjMAujXbPNXZ8x8vtpKiZkUvjOZQf6oTzr8126WjcqVenaqv\
    A49Qc0VtDOXFZp/sM+OXc5HgH4qno2MwYTAdBgNVHQ4EFgQUCBU34m0VHkDCKZPyECvuVNW7BxcwHwYDVR0jBBgwFoAUCBU34m0VHkDCKZPy\
    ECvuVNW7BxcwDwYDVR0TAQH/BAUwAwEB/zAOBgNVHQ8BAf8EBAMCAgQwCgYIKoZIzj0EAwIDSAAwRQIgCOne6kfL/hoGgx1riMbF4/1eu1d5\
    omk8OnyZewgSgAkCIQCZsZhxMSRvWII/V/V7HZsdGivHgm9NSqsyQgGp2jwfjQ==";

/// What the server speaks.
#[derive(Clone, Copy, PartialEq)]
enum Speaks {
    Plain,
    StartTls,
    TlsFromTheStart,
}

/// What a client said, line by line, and how its handshakes ended.
type Heard = Arc<Mutex<Vec<String>>>;

fn note(heard: &Heard, what: &str) {
    heard.lock().unwrap_or_else(PoisonError::into_inner).push(what.to_owned());
}

/// A mail server (RFC 5321, RFC 3207) that takes every mail.
fn mail_server(speaks: Speaks) -> (u16, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Heard::default();
    let told = Arc::clone(&heard);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let at_once = speaks == Speaks::TlsFromTheStart;
            if at_once || converse(stream.try_clone().unwrap(), GREETING, speaks, &told) {
                // Who greeted already does not again (RFC 3207 4.2).
                let greeting = if at_once { GREETING } else { "" };
                converse(shake_hands(stream, &told), greeting, Speaks::Plain, &told);
            }
        }
    });
    (port, heard)
}

const GREETING: &str = "220 test ESMTP\r\n";

/// Whether TLS is to follow.
fn converse(mut stream: impl Read + Write, greeting: &str, speaks: Speaks, heard: &Heard) -> bool {
    let mut answer = greeting;
    while stream.write_all(answer.as_bytes()).is_ok() {
        let Some(line) = read_line(&mut stream) else { return false };
        note(heard, &line);
        answer = match line.split(' ').next().unwrap_or_default() {
            "EHLO" if speaks == Speaks::StartTls => "250-test\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n",
            "EHLO" => "250-test\r\n250 AUTH PLAIN\r\n",
            "STARTTLS" => return stream.write_all(b"220 go on\r\n").is_ok(),
            "DATA" => {
                let _ = stream.write_all(b"354 go on\r\n");
                while read_line(&mut stream).is_some_and(|line| line != ".") {}
                "250 taken\r\n"
            }
            _ => "250 well\r\n",
        };
    }
    false
}

/// Byte by byte: what follows STARTTLS is not for who reads lines.
fn read_line(stream: &mut impl Read) -> Option<String> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while stream.read(&mut byte).is_ok_and(|read| read == 1) {
        line.extend(byte);
        if byte == *b"\n" {
            return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
    }
    None
}

fn shake_hands(mut stream: TcpStream, heard: &Heard) -> rustls::StreamOwned<ServerConnection, TcpStream> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let der = |text: &str| STANDARD.decode(text).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der(CERTIFICATE).into()], PrivatePkcs8KeyDer::from(der(KEY)).into())
        .unwrap();
    let mut tls = ServerConnection::new(Arc::new(config)).unwrap();
    while tls.is_handshaking() {
        if let Err(error) = tls.complete_io(&mut stream) {
            note(heard, &error.to_string());
            return rustls::StreamOwned::new(tls, stream);
        }
    }
    note(heard, "TLS");
    rustls::StreamOwned::new(tls, stream)
}

/// A mail as that URL has it sent, of which `PORT` is a server that speaks so. What became of the task, and what the
/// server heard.
async fn send(workshop: &Workshop, url: &str, speaks: Speaks) -> (Value, Vec<String>) {
    let (port, heard) = mail_server(speaks);
    let url = url.replace("PORT", &port.to_string());
    let config = Config::from_pairs([("STARTER__MAIL__URL", url.as_str())]).unwrap();
    let none = Services::default();
    let services = worker::services(&config, none.letters, none.users, none.sweeper).unwrap();
    let worker = workshop.worker_with(Registry::builtin(), quick(), Arc::new(services)).await;
    let id = workshop.enqueue(mail()).await;
    let row = workshop.finished(id).await;
    worker.shift.drain(Duration::ZERO).await;
    let heard = heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
    (row, heard)
}

#[test]
fn where_tls_is_demanded_nothing_is_sent_without_it() {
    in_workshop(async |workshop| {
        for (url, speaks, told) in [
            // With a password, TLS is required though nobody says so.
            ("smtp://me:secret@127.0.0.1:PORT", Speaks::Plain, &["EHLO"][..]),
            ("smtp://127.0.0.1:PORT?tls=required", Speaks::Plain, &["EHLO"]),
            ("smtps://me:secret@127.0.0.1:PORT", Speaks::Plain, &[]),
            // Nobody vouches for the certificate.
            ("smtp://me:secret@127.0.0.1:PORT", Speaks::StartTls, &["EHLO", "STARTTLS", "UnknownCA"]),
            ("smtp://localhost:PORT?tls=opportunistic", Speaks::StartTls, &["EHLO", "STARTTLS", "UnknownCA"]),
            ("smtps://me:secret@localhost:PORT", Speaks::TlsFromTheStart, &["UnknownCA"]),
        ] {
            let (row, heard) = send(&workshop, url, speaks).await;
            assert_eq!(row["status"], "failed", "{url}");
            assert_eq!(row["last_error"], "the mail server could not be reached or understood", "{url}");
            for words in told {
                assert!(heard.iter().any(|line| line.contains(words)), "{url}, {words}: {heard:?}");
            }
            for word in ["AUTH", "MAIL", "RCPT", "DATA"] {
                assert!(!heard.iter().any(|line| line.contains(word)), "{url}, {word}: {heard:?}");
            }
        }
    });
}

#[test]
fn a_mail_goes_in_the_clear_where_the_configuration_lets_it() {
    in_workshop(async |workshop| {
        for url in ["smtp://127.0.0.1:PORT", "smtp://me:secret@127.0.0.1:PORT?tls=none"] {
            let (row, heard) = send(&workshop, url, Speaks::Plain).await;
            assert_eq!((&row["status"], &row["last_error"]), (&json!("succeeded"), &Value::Null));
            assert!(heard.iter().any(|line| line == "DATA"), "{url}: {heard:?}");
            let with_password = heard.iter().any(|line| line.starts_with("AUTH PLAIN"));
            assert_eq!(with_password, url.contains("secret"), "{url}: {heard:?}");
        }
    });
}

#[tokio::test]
async fn a_mail_goes_over_tls_to_a_server_that_the_system_trusts() {
    let (database, directory) = (TestDatabase::create().await, tempfile::tempdir().unwrap());
    let trusted = directory.path().join("authorities.pem");
    let pem = format!("-----BEGIN CERTIFICATE-----\n{AUTHORITY}\n-----END CERTIFICATE-----\n");
    std::fs::write(&trusted, pem).unwrap();
    for (url, speaks) in [
        ("smtp://me:secret@localhost:PORT", Speaks::StartTls),
        ("smtps://me:secret@localhost:PORT", Speaks::TlsFromTheStart),
    ] {
        let (port, heard) = mail_server(speaks);
        let url = url.replace("PORT", &port.to_string());
        let variables = [("STARTER__MAIL__URL", url.as_str()), ("SSL_CERT_FILE", trusted.to_str().unwrap())];
        let _worker = Running::start("worker", &database, &variables).await;
        let mut connection = database.connection().await;
        starter::db::tasks::insert(&mut connection, vec![mail()]).await.unwrap();
        let unsent = "select from tasks where status <> 'succeeded'";
        eventually(PATIENCE, async || rows(&mut connection, unsent).await.is_empty()).await;
        let heard = heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let at = |word: &str| heard.iter().position(|line| line.starts_with(word)).unwrap();
        assert!(at("TLS") < at("AUTH PLAIN") && at("AUTH PLAIN") < at("DATA"), "{heard:?}");
    }
}
