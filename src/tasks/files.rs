//! Files that tasks make, for their owners to download.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;
use tokio::{
    fs::{self, File, OpenOptions},
    io::{AsyncWriteExt as _, BufWriter},
};
use uuid::Uuid;

use crate::domain::TaskId;

/// A directory of files, one per task. Servers and workers share it.
#[derive(Debug, Clone)]
pub struct Files {
    directory: PathBuf,
}

/// A file that a task made, as its result tells.
#[derive(Debug, Clone, Serialize)]
pub struct FileInfo {
    /// What it is called when it is downloaded.
    pub name: String,
    /// How long it is.
    pub bytes: u64,
    /// Where it is downloaded, on this server.
    pub url: String,
}

/// A file while it is written. Dropped before [`Draft::finish`], it leaves nothing that anybody sees; what is left
/// of it is deleted with the old files.
#[derive(Debug)]
pub struct Draft {
    writer: BufWriter<File>,
    part: PathBuf,
    whole: PathBuf,
    task: TaskId,
    bytes: u64,
}

impl Files {
    /// In that directory, which is made when it is not there.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Where the task's file is.
    pub fn path(&self, task: TaskId) -> PathBuf {
        self.directory.join(task.to_string())
    }

    /// The task's file and its length; `None` when there is none.
    ///
    /// # Errors
    /// As the file system tells.
    pub async fn open(&self, task: TaskId) -> io::Result<Option<(File, u64)>> {
        match File::open(self.path(task)).await {
            Ok(file) => {
                let length = file.metadata().await?.len();
                Ok(Some((file, length)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes files that are older than this. Tells how many there were.
    ///
    /// # Errors
    /// As the file system tells.
    pub async fn sweep(&self, older_than: Duration) -> io::Result<usize> {
        let mut entries = match fs::read_dir(&self.directory).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            entries => entries?,
        };
        let mut deleted = 0;
        while let Some(entry) = entries.next_entry().await? {
            // Nothing but what tasks made, should somebody keep other things here.
            let name = entry.file_name();
            let is_ours =
                name.to_str().and_then(|name| name.get(..36)).is_some_and(|id| id.parse::<Uuid>().is_ok());
            let sweep = async {
                let age = entry.metadata().await?.modified()?.elapsed().unwrap_or_default();
                let old = is_ours && age > older_than;
                if old {
                    fs::remove_file(entry.path()).await?;
                }
                io::Result::Ok(old)
            };
            match sweep.await {
                Ok(gone) => deleted += usize::from(gone),
                // Another process that shares the directory was quicker.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(deleted)
    }

    /// Begins the task's file. Two attempts at once do not write into the same.
    ///
    /// # Errors
    /// As the file system tells.
    pub async fn begin(&self, task: TaskId, attempt: i32) -> io::Result<Draft> {
        let whole = self.path(task);
        let part = self.directory.join(format!("{task}.{attempt}.part"));
        let file = create(&part).await?;
        Ok(Draft { writer: BufWriter::new(file), part, whole, task, bytes: 0 })
    }
}

impl Draft {
    /// Adds to it.
    ///
    /// # Errors
    /// As the file system tells.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.writer.write_all(bytes).await
    }

    /// Puts it in its place, whole: nobody ever sees half of it.
    ///
    /// # Errors
    /// As the file system tells.
    pub async fn finish(mut self, name: String) -> io::Result<FileInfo> {
        self.writer.flush().await?;
        self.writer.get_ref().sync_all().await?;
        fs::rename(&self.part, &self.whole).await?;
        let url = format!("/api/v1/tasks/{}/file", self.task);
        Ok(FileInfo { name, bytes: self.bytes, url })
    }
}

/// Writes a file that only this user may read, and that is there whole or not at all.
pub(super) async fn write_whole(path: &Path, contents: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = create(&part).await?;
    file.write_all(contents).await?;
    file.sync_all().await?;
    fs::rename(&part, path).await
}

async fn create(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).await?;
    }
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).await
}
