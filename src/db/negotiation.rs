//! The beginning of a connection over TCP: whether it is encrypted, as `sslmode` has it.
//!
//! tokio-postgres would do it, but then lets nobody between itself and a connection that is not encrypted. So it is asked for
//! "direct" TLS, sends nothing of its own, and what is here asks the server (PostgreSQL documentation, section 55.2.10).

use std::{
    error::Error as StdError,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_postgres::{
    Config, Socket,
    config::{SslMode, SslNegotiation},
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::sqlstate::Coded;

/// `SSLRequest`: its length and its code.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

type Encrypted = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;
type Handshake = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;

/// Makes connections whose errors bring their code, encrypted or not.
#[derive(Clone)]
pub(super) struct Negotiator {
    tls: MakeRustlsConnect,
    mode: SslMode,
    /// The URL asks for TLS from the first byte on.
    direct: bool,
}

impl Negotiator {
    /// Takes over the negotiation from `config`.
    pub(super) fn take_over(config: &mut Config, tls: MakeRustlsConnect) -> Self {
        let (mode, direct) = (config.get_ssl_mode(), config.get_ssl_negotiation() == SslNegotiation::Direct);
        config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
        Self { tls, mode, direct }
    }
}

impl MakeTlsConnect<Socket> for Negotiator {
    type Stream = Coded<Link>;
    type TlsConnect = Negotiation;
    type Error = Box<dyn StdError + Send + Sync>;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Negotiation, Self::Error> {
        let tls = MakeTlsConnect::<Socket>::make_tls_connect(&mut self.tls, domain)?;
        Ok(Negotiation { tls, mode: self.mode, direct: self.direct })
    }
}

/// The negotiation with one server.
pub(super) struct Negotiation {
    tls: Handshake,
    mode: SslMode,
    direct: bool,
}

impl TlsConnect<Socket> for Negotiation {
    type Stream = Coded<Link>;
    type Error = Box<dyn StdError + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Stream, Self::Error>>;

    fn connect(self, mut socket: Socket) -> Self::Future {
        Box::pin(async move {
            let encrypted = match self.mode {
                SslMode::Disable => false,
                _ if self.direct => true,
                _ => asked(&mut socket).await?,
            };
            let link = match self.mode {
                _ if encrypted => Link::Encrypted(Box::new(self.tls.connect(socket).await?)),
                SslMode::Require => return Err("server does not support TLS".into()),
                _ => Link::Plain(socket),
            };
            Ok(Coded::new(link))
        })
    }
}

/// Whether the server speaks TLS. One byte is read and no more: what came unencrypted behind it is not taken for an answer.
async fn asked(socket: &mut Socket) -> io::Result<bool> {
    socket.write_all(&SSL_REQUEST).await?;
    socket.flush().await?;
    Ok(socket.read_u8().await? == b'S')
}

/// A connection over TCP.
pub(super) enum Link {
    Plain(Socket),
    Encrypted(Box<Encrypted>),
}

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Encrypted(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Encrypted(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Encrypted(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Encrypted(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

impl TlsStream for Link {
    fn channel_binding(&self) -> ChannelBinding {
        match self {
            Self::Plain(_) => ChannelBinding::none(),
            Self::Encrypted(tls) => tls.channel_binding(),
        }
    }
}
