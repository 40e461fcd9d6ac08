//! The code of a server's error (SQLSTATE), kept through diesel.
//!
//! diesel's errors have PostgreSQL's message, which comes in the language of the server, but not its code. Its hint comes
//! through, and nobody here needs it: so the code is written into the hint of each error before tokio-postgres reads it
//! from the connection (PostgreSQL documentation, section 55.7, `ErrorResponse`).

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use diesel::result::DatabaseErrorInformation;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

/// Longer errors pass as they are, so that no server makes this process hold more than that.
const LONGEST: usize = 64 * 1024;
/// Type and length.
const HEADER: usize = 5;

/// Returns the code of an error that came through a [`Coded`] connection.
pub(super) fn of(information: &dyn DatabaseErrorInformation) -> Option<&str> {
    let hint = information.hint()?;
    let is_code = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
    Some(hint).filter(|hint| hint.len() == 5 && hint.bytes().all(is_code))
}

/// Whether such an error passes: the server is away, busy, full, shutting down or takes no writes, or the transaction lost a
/// race (PostgreSQL documentation, appendix A).
pub(super) fn is_transient(code: &str) -> bool {
    // Lock timeout; read-only transaction; idle in transaction, and transaction, for too long.
    const CODES: [&str; 4] = ["55P03", "25006", "25P03", "25P04"];
    // Connection; lost races; resources, a full disk among them; intervention, such as a statement timeout; input and output.
    const CLASSES: [&str; 5] = ["08", "40", "53", "57", "58"];
    CODES.contains(&code) || CLASSES.iter().any(|class| code.starts_with(class))
}

/// A connection to a server, whose errors bring their code in their hint.
#[derive(Debug)]
pub(super) struct Coded<S> {
    io: S,
    frames: Frames,
}

impl<S> Coded<S> {
    /// From the first message of the server on.
    pub(super) fn new(io: S) -> Self {
        Self { io, frames: Frames::default() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Coded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.frames.ready.is_empty() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.io).poll_read(cx, buffer))?;
            let new = buffer.filled().get(before..).unwrap_or_default();
            if new.is_empty() {
                // The end. What is held is no whole message, and of no use to anybody.
                return Poll::Ready(Ok(()));
            }

            // Nearly always no error is among it, and nothing is copied.
            let passed = this.frames.pass(new);
            if passed == new.len() {
                return Poll::Ready(Ok(()));
            }
            this.frames.hold(new.get(passed..).unwrap_or_default());
            buffer.set_filled(before + passed);
            if passed > 0 {
                return Poll::Ready(Ok(()));
            }
        }

        let some = this.frames.ready.len().min(buffer.remaining());
        buffer.put_slice(this.frames.ready.get(..some).unwrap_or_default());
        this.frames.ready.drain(..some);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Coded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Coded<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.io.channel_binding()
    }
}

/// Where in the messages of the server the reader is.
#[derive(Debug, Default)]
struct Frames {
    /// Of the message that passes, to come.
    left: usize,
    /// A header that has not come as a whole.
    header: Vec<u8>,
    /// An error, from its header on, that has not come as a whole.
    held: Vec<u8>,
    /// What comes next.
    ready: Vec<u8>,
}

impl Frames {
    /// Returns how many of these bytes may pass as they are: those before an error.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        if !self.held.is_empty() {
            return 0;
        }
        let mut passed = 0;
        while let Some(rest) = bytes.get(passed..).filter(|rest| !rest.is_empty()) {
            if self.left > 0 {
                let some = self.left.min(rest.len());
                self.left -= some;
                passed += some;
                continue;
            }
            if self.header.is_empty() && rest.first() == Some(&b'E') {
                return passed;
            }

            let some = (HEADER - self.header.len()).min(rest.len());
            self.header.extend_from_slice(rest.get(..some).unwrap_or_default());
            passed += some;
            if let Some(length) = length(&self.header) {
                self.left = length - HEADER;
                self.header.clear();
            }
        }
        passed
    }

    /// Takes bytes that begin with an error, or go on with one, and makes ready what is whole.
    fn hold(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        while let Some(length) = length(&self.held) {
            if length > LONGEST {
                self.left = length.saturating_sub(self.held.len());
                self.ready.extend(self.held.drain(..length.min(self.held.len())));
            } else if self.held.len() < length {
                return;
            } else {
                let error: Vec<u8> = self.held.drain(..length).collect();
                self.ready.extend(with_code(error));
            }

            // What came behind it may pass, up to the next error.
            let rest = std::mem::take(&mut self.held);
            let passed = self.pass(&rest);
            self.ready.extend(rest.iter().take(passed));
            self.held = rest.into_iter().skip(passed).collect();
        }
    }
}

/// The length of a message with its header, once that is there.
fn length(message: &[u8]) -> Option<usize> {
    let bytes = message.get(1..HEADER)?.try_into().ok()?;
    // The length counts itself; less than that is no message of PostgreSQL's, and is left to tokio-postgres to refuse.
    usize::try_from(u32::from_be_bytes(bytes)).ok().map(|length| length.max(4) + 1)
}

/// The error with its code as its last hint, which is the one that counts.
fn with_code(mut error: Vec<u8>) -> Vec<u8> {
    let fields = error.get(HEADER..).unwrap_or_default().split(|byte| *byte == 0);
    let code = fields.filter_map(|field| field.strip_prefix(b"C")).next().map(<[u8]>::to_vec);
    if let Some(code) = code.filter(|code| code.len() == 5 && error.last() == Some(&0)) {
        error.pop();
        error.extend([b"H", &code[..], &[0, 0]].concat());
        let length = u32::try_from(error.len() - 1).unwrap_or(u32::MAX);
        error.splice(1..HEADER, length.to_be_bytes());
    }
    error
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    fn error(code: &str, hint: Option<&str>, message_: &str) -> Vec<u8> {
        let hint = hint.map_or(String::new(), |hint| format!("H{hint}\0"));
        message(b'E', format!("SFEHLER\0VERROR\0C{code}\0M{message_}\0{hint}\0").as_bytes())
    }

    #[test]
    fn every_class_that_passes_is_known_by_its_code() {
        for code in ["53100", "53200", "53300", "53400", "40001", "40P01", "57014", "57P01", "57P03"] {
            assert!(is_transient(code), "{code}");
        }
        for code in ["55P03", "25006", "25P03", "08006", "58030"] {
            assert!(is_transient(code), "{code}");
        }
        for code in ["42P01", "23505", "22P02", "XX000", "55000", "P0001"] {
            assert!(!is_transient(code), "{code}");
        }
    }

    #[tokio::test]
    async fn an_error_that_is_too_long_passes_as_it_is_and_what_follows_is_read() {
        let long = error("53100", None, &"x".repeat(LONGEST));
        let all = [&long[..], &error("40P01", None, "short")[..], &message(b'Z', b"I")[..]].concat();
        let mut read = Vec::new();
        Coded::new(&all[..]).read_to_end(&mut read).await.unwrap();
        let expected = [&long[..], &error("40P01", Some("40P01"), "short")[..], &message(b'Z', b"I")[..]];
        assert!(read == expected.concat());
    }

    proptest! {
        #[test]
        fn all_but_errors_comes_through_unchanged_however_it_is_cut(
            messages in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)), 0..20),
            pipe in 1..64usize,
            taken in 1..64usize,
        ) {
            let (mut sent, mut expected) = (Vec::new(), Vec::new());
            for (is_error, body) in messages {
                if is_error {
                    sent.extend(error("53100", None, &"m".repeat(body.len())));
                    expected.extend(error("53100", Some("53100"), &"m".repeat(body.len())));
                } else {
                    sent.extend(message(b'D', &body));
                    expected.extend(message(b'D', &body));
                }
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let read = runtime.block_on(async move {
                let (near, mut far) = tokio::io::duplex(pipe);
                let writing = async move { far.write_all(&sent).await.unwrap() };
                let mut coded = Coded::new(near);
                let reading = async move {
                    let (mut all, mut some) = (Vec::new(), vec![0; taken]);
                    loop {
                        match coded.read(&mut some).await.unwrap() {
                            0 => return all,
                            n => all.extend_from_slice(&some[..n]),
                        }
                    }
                };
                tokio::join!(writing, reading).1
            });
            prop_assert_eq!(read, expected);
        }
    }
}
