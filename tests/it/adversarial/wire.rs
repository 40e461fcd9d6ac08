//! Clients that are slow on purpose, that hang up at once, and that send without end.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use rustix::net::sockopt::set_socket_linger;
use starter::http::{Settings, json::BodyRules};

use super::refused;
use crate::{
    edge::{Edge, raw::Peer, settings},
    support::{eventually, site::Site},
};

/// What a connection says until it ends, while its other half is fed these bytes again and again, `every` so often.
fn answer_while_fed(stream: &TcpStream, bytes: &'static [u8], every: Duration) -> String {
    let mut half = stream.try_clone().unwrap();
    let feeding = std::thread::spawn(move || {
        while half.write_all(bytes).is_ok() {
            std::thread::sleep(every);
        }
    });
    let mut said = Vec::new();
    let mut listening = stream.try_clone().unwrap();
    listening.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut some = [0; 4_096];
    loop {
        match listening.read(&mut some) {
            Ok(0) => break,
            Ok(read) => said.extend_from_slice(&some[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("it is not cut off"),
            Err(_) => break,
        }
    }
    let _gone = stream.shutdown(Shutdown::Both);
    feeding.join().unwrap();
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn a_body_that_keeps_dribbling_in_is_cut_off_all_the_same() {
    let body = BodyRules { patience: Duration::from_millis(500), ..BodyRules::default() };
    let edge = Edge::start(Settings { body, ..settings() });
    for framing in ["Content-Length: 100000", "Transfer-Encoding: chunked"] {
        let mut stream = TcpStream::connect(edge.address()).unwrap();
        let head = "POST /api/v1/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
        write!(stream, "{head}{framing}\r\n\r\n").unwrap();
        let bytes: &[u8] = if framing.starts_with('T') { b"1\r\n{\r\n" } else { b"{" };
        let said = answer_while_fed(&stream, bytes, Duration::from_millis(20));
        assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("request_timeout"), "{framing}: {said}");
    }
}

#[test]
fn a_body_without_end_is_refused_and_not_read_to_its_end() {
    let edge = Edge::start(settings());
    let mut stream = TcpStream::connect(edge.address()).unwrap();
    stream
        .write_all(b"POST /api/v1/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    const CHUNK: [u8; 0x1000 + 8] = {
        let mut chunk = [b' '; 0x1000 + 8];
        let (start, end) = (b"1000\r\n", b"\r\n");
        let mut n = 0;
        while n < 6 {
            chunk[n] = start[n];
            n += 1;
        }
        chunk[0x1000 + 6] = end[0];
        chunk[0x1000 + 7] = end[1];
        chunk
    };
    let said = answer_while_fed(&stream, &CHUNK, Duration::ZERO);
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 413 "), "{said}");
    for length in ["3000000", "100000000", "18446744073709551615"] {
        let request = format!(
            "POST /api/v1/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        assert_eq!(edge.send(&request).status, 413, "{length}");
    }
}

#[test]
fn a_request_line_that_does_not_end_is_cut_off() {
    let edge = Edge::start(Settings { head_timeout: Duration::from_secs(1), ..settings() });
    for start in ["G", "GET /hea", ""] {
        let mut peer = Peer::connect(edge.address());
        peer.send(start);
        assert_eq!(peer.read(false).status, 408, "{start}");
        assert!(peer.is_closed(), "{start}");
    }
}

#[actix_rt::test]
async fn who_hangs_up_right_after_asking_to_be_logged_out_leaves_all_sessions_or_none() {
    let site = Site::open().await;
    let mut pairs = Vec::new();
    for n in 0..100 {
        let (user, one) = site.log_in(&format!("user{n}"), "user").await;
        let two = site.stores.open(user).await.token.expose().to_owned();
        let mut stream = TcpStream::connect(site.address()).unwrap();
        set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        let request = format!(
            "POST /api/v1/auth/logout-all HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {one}\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        // Reset, not closed.
        drop(stream);
        pairs.push((one, two));
    }
    let alive = async |token: &str| site.get("/api/v1/auth/me", token).await.status;
    // What was asked last has been done, or never will be, when what is asked now is.
    for (one, two) in &pairs {
        eventually(Duration::from_secs(30), async || alive(one).await == alive(two).await).await;
    }
    for (one, two) in &pairs {
        assert_eq!(alive(one).await, alive(two).await);
    }
    // No connection to the database is left behind.
    let (_, token) = site.log_in("alice", "user").await;
    let told = site.send(reqwest::Method::POST, "/api/v1/auth/logout-all", &token).await;
    assert_eq!(told.status, 200, "{told:?}");
    refused(&site.get("/api/v1/auth/me", &token).await, 401, "unauthenticated");
}
