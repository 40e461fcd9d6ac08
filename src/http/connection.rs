//! What actix does not do between the socket and its dispatcher.
//!
//! 1. Errors that the dispatcher answers by itself (a head that cannot be parsed, is too large or
//!    comes too late) have no body: here they become problem documents like all others.
//! 2. Only the first head on a connection is under a time limit, and a reader who stops reading
//!    is under none: here a connection on which nothing was written for too long ends.
//! 3. After an answer that closes the connection, the rest of a body in chunks is read for as long
//!    as it comes: here for a short while only, so that the client sees the answer.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context as Task, Poll, ready},
    time::Duration,
};

use actix_web::{
    http::{StatusCode, header::HeaderMap},
    web::{Buf, BytesMut},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};
use uuid::Uuid;

use super::{headers, metrics::HttpMetrics, problem::Problem, request_id};

/// How long what a client still sends is read and thrown away after a refusal, so that it sees the
/// refusal.
pub(super) const LINGER: Duration = Duration::from_secs(3);

/// Set by the edge when the answer under way is the last on its connection.
#[derive(Debug, Clone, Default)]
pub(super) struct LastAnswer(Rc<Cell<bool>>);

impl LastAnswer {
    pub(super) fn begin(&self) {
        self.0.set(true);
    }
}

/// A socket, watched.
pub(super) struct Connection<S> {
    io: S,
    secure: bool,
    metrics: HttpMetrics,
    /// Written instead of what the dispatcher gave.
    instead: BytesMut,
    silence_limit: Duration,
    last_write: Instant,
    last_answer: LastAnswer,
    alarm: Pin<Box<Sleep>>,
}

impl<S> Connection<S> {
    pub(super) fn new(io: S, silence_limit: Duration, secure: bool, metrics: HttpMetrics) -> Self {
        let now = Instant::now();
        let alarm = Box::pin(tokio::time::sleep_until(now + silence_limit));
        Self {
            io,
            secure,
            metrics,
            instead: BytesMut::new(),
            silence_limit,
            last_write: now,
            last_answer: LastAnswer::default(),
            alarm,
        }
    }

    /// For the edge, to say which answer is the last.
    pub(super) fn last_answer(&self) -> LastAnswer {
        self.last_answer.clone()
    }

    /// How long nothing need be written before reading ends.
    fn patience(&self) -> Duration {
        if self.last_answer.0.get() { LINGER } else { self.silence_limit }
    }

    /// Whether nothing was written for so long; if not, wakes the task when it is so.
    fn poll_silence(&mut self, cx: &mut Task<'_>, limit: Duration) -> Poll<()> {
        while self.alarm.as_mut().poll(cx).is_ready() {
            if self.last_write.elapsed() >= limit {
                return Poll::Ready(());
            }
            self.alarm.as_mut().reset(self.last_write + limit);
        }
        Poll::Pending
    }

    /// How reading ends on a silent connection: after the last answer, as if the client were done.
    fn silenced(&self) -> io::Result<()> {
        if self.last_answer.0.get() { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
    }
}

impl<S: AsyncWrite + Unpin> Connection<S> {
    fn write(&mut self, cx: &mut Task<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Poll::Ready(result) = Pin::new(&mut self.io).poll_write(cx, bytes) else {
            let silence = self.poll_silence(cx, self.silence_limit);
            return silence.map(|()| Err(io::ErrorKind::TimedOut.into()));
        };
        self.last_write = Instant::now();
        if self.last_answer.0.get() {
            // To be woken then: nothing may come any more.
            self.alarm.as_mut().reset(self.last_write + LINGER);
            let _ = self.alarm.as_mut().poll(cx);
        }
        Poll::Ready(result)
    }

    fn write_instead(&mut self, cx: &mut Task<'_>) -> Poll<io::Result<()>> {
        while !self.instead.is_empty() {
            let bytes = self.instead.split();
            let written = match self.write(cx, &bytes) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => 0,
            };
            self.instead = bytes;
            self.instead.advance(written);
            if written == 0 {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Task<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // A client that sends without a pause never makes the alarm be looked at.
        let patience = self.patience();
        if self.last_write.elapsed() >= patience {
            return Poll::Ready(self.silenced());
        }
        match Pin::new(&mut self.io).poll_read(cx, buffer) {
            Poll::Pending => self.poll_silence(cx, patience).map(|()| self.silenced()),
            ready => ready,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Task<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.write_instead(cx))?;
        match plain_error(bytes) {
            None => self.write(cx, bytes),
            // What followed the last answer: the rest of the request that it refused.
            Some((b"", _)) if self.last_answer.0.get() => Poll::Ready(Ok(bytes.len())),
            Some((b"", status)) => {
                self.metrics.count_rejected(status.as_u16());
                self.instead = BytesMut::from(problem(status, self.secure).as_slice());
                if let Poll::Ready(Err(error)) = self.write_instead(cx) {
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(Ok(bytes.len()))
            }
            Some((before, _)) => self.write(cx, before),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_instead(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_instead(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// If the bytes end with an answer that the dispatcher made: what comes before, and the status.
///
/// Such an answer has nothing but the headers that the dispatcher itself writes, and is the last on
/// its connection. An answer of the application has a request id and is never one.
fn plain_error(bytes: &[u8]) -> Option<(&[u8], StatusCode)> {
    const LONGEST: usize = 200;
    let text = bytes.strip_suffix(b"\r\n\r\n")?;
    let tail = text.get(text.len().saturating_sub(LONGEST)..)?;
    let start = tail
        .windows(11)
        .rposition(|window| window.starts_with(b"HTTP/1.1 4") || window.starts_with(b"HTTP/1.1 5"))?;
    let mut lines = std::str::from_utf8(tail.get(start..)?).ok()?.split("\r\n");
    let status = lines.next()?.get(9..12)?.parse().ok()?;
    let own =
        |line: &str| line == "content-length: 0" || line == "connection: close" || line.starts_with("date: ");
    if !lines.all(own) {
        return None;
    }
    let before = bytes.get(..text.len() - tail.len() + start)?;
    Some((before, status))
}

/// A whole answer, head and body, after which the connection closes.
fn problem(status: StatusCode, secure: bool) -> Vec<u8> {
    let id = Uuid::now_v7().to_string();
    log::debug!(request_id = id.as_str(), status = status.as_u16(); "request refused before it was one");
    let problem = Problem::Framework(status);
    let body = serde_json::to_vec(&problem.document(Some(&id))).unwrap_or_default();
    let mut fixed = HeaderMap::new();
    headers::protect(&mut fixed, secure);
    let mut answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
         connection: close\r\n{}: {id}\r\ndate: {}\r\n",
        body.len(),
        request_id::HEADER,
        chrono::Utc::now().format("%a, %d %b %Y %H:%M:%S GMT"),
    )
    .into_bytes();
    for (name, value) in &fixed {
        answer.extend_from_slice(name.as_str().as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(value.as_bytes());
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(&body);
    answer
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PLAIN: &[u8] =
        b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\ndate: Mon, 23 Nov 2026 09:00:00 GMT\r\n\r\n";

    #[test]
    fn the_dispatchers_own_answers_are_recognised_and_nothing_else() {
        assert_eq!(plain_error(PLAIN), Some((&b""[..], StatusCode::BAD_REQUEST)));
        let ok = b"HTTP/1.1 204 No Content\r\nx-request-id: 1\r\n\r\n";
        let both = [&ok[..], PLAIN].concat();
        assert_eq!(plain_error(&both), Some((&ok[..], StatusCode::BAD_REQUEST)));
        assert_eq!(plain_error(ok), None);
        assert_eq!(
            plain_error(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nx-request-id: 1\r\n\r\n"),
            None
        );
        let quoted = [b"5c\r\n", PLAIN, b"\r\n0\r\n\r\n"].concat();
        assert_eq!(plain_error(&quoted), None, "an answer inside of a body");
        assert_eq!(plain_error(b""), None);
        assert_eq!(plain_error(b"\r\n\r\n"), None);
    }

    #[tokio::test]
    async fn a_plain_error_becomes_a_problem_document_however_small_the_pipe() {
        let (near, mut far) = tokio::io::duplex(7);
        let mut connection = Connection::new(near, Duration::from_secs(60), false, HttpMetrics::default());
        let writing = async move {
            connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            connection.write_all(PLAIN).await.unwrap();
            connection.shutdown().await.unwrap();
        };
        let mut text = String::new();
        let (_, read) = tokio::join!(writing, far.read_to_string(&mut text));
        read.unwrap();
        let text = text.strip_prefix("HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
        assert!(head.contains("cache-control: no-store"), "{head}");
        assert_eq!(body["code"], "malformed_request");
        assert!(head.contains(&format!("x-request-id: {}", body["request_id"].as_str().unwrap())), "{head}");
    }

    #[tokio::test]
    async fn a_connection_without_answers_for_too_long_ends_though_bytes_keep_coming() {
        const LIMIT: Duration = Duration::from_millis(300);
        let (near, mut far) = tokio::io::duplex(64);
        let mut connection = Connection::new(near, LIMIT, false, HttpMetrics::default());
        tokio::spawn(async move { while far.write_all(b"x").await.is_ok() {} });
        let mut some = [0; 8];
        connection.read_exact(&mut some).await.unwrap();
        let begun = Instant::now();
        connection.write_all(b"answer").await.unwrap();
        let error = tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                if let Err(error) = connection.read_exact(&mut some).await {
                    break error;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert_eq!(error.await.unwrap().kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= LIMIT, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_reader_that_stops_reading_does_not_hold_the_connection() {
        let (near, _far) = tokio::io::duplex(4);
        let mut connection = Connection::new(near, Duration::from_millis(100), false, HttpMetrics::default());
        let error = connection.write_all(b"more than fits").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
