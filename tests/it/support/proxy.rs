//! A proxy before the database, whose clients can be cut off while the server hears nothing of it: as when a cable is
//! pulled, the server carries out what it was told, and nobody is told that it did.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use starter::db::Target;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, copy_bidirectional},
    net::{UnixListener, UnixStream},
    sync::watch,
};

use super::db::TestDatabase;

const SOCKET: &str = ".s.PGSQL.5432";

pub(crate) struct Proxy {
    folder: TempDir,
    database: String,
    cuts: watch::Sender<u32>,
}

impl Proxy {
    pub(crate) fn before(database: &TestDatabase) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
        let server = database.socket_folder().join(SOCKET);
        let (cuts, cut) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(pass_on(client, server.clone(), cut.clone()));
            }
        });
        Self { folder, database: database.name().to_owned(), cuts }
    }

    pub(crate) fn target(&self) -> Target {
        let folder = self.folder.path().to_str().unwrap().replace('/', "%2F");
        Target::parse(&SecretString::from(format!("postgresql://starter@{folder}/{}", self.database)))
            .unwrap()
    }

    /// Cuts off all clients that are connected now.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn pass_on(mut client: UnixStream, server: PathBuf, mut cut: watch::Receiver<u32>) {
    let mut server = UnixStream::connect(server.as_path() as &Path).await.unwrap();
    cut.mark_unchanged();
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => return,
        _ = cut.changed() => drop(client),
    }
    let mut unheard = [0; 4_096];
    while server.read(&mut unheard).await.is_ok_and(|bytes| bytes > 0) {}
}
