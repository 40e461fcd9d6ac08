//! A proxy before the database, whose clients can be cut off while the server hears nothing of it: as when a cable is
//! pulled, the server carries out what it was told, and nobody is told that it did.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, copy_bidirectional},
    net::{UnixListener, UnixStream},
    sync::watch,
};

const SOCKET: &str = ".s.PGSQL.5432";

pub(crate) struct Proxy {
    /// Of the database through the proxy.
    url: String,
    cuts: watch::Sender<u32>,
    away: Arc<AtomicBool>,
    _folder: TempDir,
}

impl Proxy {
    /// Before the database at this URL, which leads through a socket.
    pub(crate) fn before(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
        let config: tokio_postgres::Config = url.parse().unwrap();
        let [tokio_postgres::config::Host::Unix(server)] = config.get_hosts() else {
            panic!("no socket: {url}")
        };
        let server = server.join(SOCKET);
        let (cuts, cut) = watch::channel(0);
        let away = Arc::new(AtomicBool::new(false));
        let nobody_there = Arc::clone(&away);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if !nobody_there.load(Ordering::Relaxed) {
                    tokio::spawn(pass_on(client, server.clone(), cut.clone()));
                }
            }
        });
        let place = folder.path().to_str().unwrap().replace('/', "%2F");
        let url = format!("postgresql://starter@{place}/{}", config.get_dbname().unwrap());
        Self { url, cuts, away, _folder: folder }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Cuts off all clients that are connected now.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Cuts off all clients and lets none in, until [`Proxy::come_back`].
    pub(crate) fn go_away(&self) {
        self.away.store(true, Ordering::Relaxed);
        self.cut();
    }

    pub(crate) fn come_back(&self) {
        self.away.store(false, Ordering::Relaxed);
    }
}

async fn pass_on(mut client: UnixStream, server: PathBuf, mut cut: watch::Receiver<u32>) {
    // It may be away.
    let Ok(mut server) = UnixStream::connect(&server as &Path).await else { return };
    cut.mark_unchanged();
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => return,
        _ = cut.changed() => drop(client),
    }
    let mut unheard = [0; 4_096];
    while server.read(&mut unheard).await.is_ok_and(|bytes| bytes > 0) {}
}
