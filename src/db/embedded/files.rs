//! Opens what lies in a directory that another account may own, so that it cannot lead anywhere else.
//!
//! Root starts the server as an unprivileged account, which owns the directory and can put anything there at any
//! moment. So a link is never followed, and what was opened is looked at by its descriptor, never again by its name.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

use rustix::{
    fs::{CWD, Mode, OFlags, fchmod, fchown, mkdirat, openat},
    io::Errno,
    process::{Gid, Uid},
};

use super::Problem;

/// A pid file and the like; anything longer is none.
const LONGEST_SMALL_FILE: u64 = 64 << 10;
/// A pipe in the place of a file does not make the opener wait.
const SAFE: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// The user that something has to belong to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Opens a directory, which may be anywhere, but is no link.
pub(super) fn directory(path: &Path) -> io::Result<File> {
    directory_in(CWD, path)
}

/// Opens the directory `name` in `parent`.
pub(super) fn directory_in(parent: impl std::os::fd::AsFd, name: &Path) -> io::Result<File> {
    Ok(openat(parent, name, OFlags::RDONLY | OFlags::DIRECTORY | SAFE, Mode::empty())?.into())
}

/// Makes the private directory `name` in `parent`, or finds it, and gives it to `owner`.
pub(super) fn own_directory(parent: &File, name: &Path, path: &Path, owner: Owner) -> Result<File, Problem> {
    match mkdirat(parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(Problem::at(path)(errno.into())),
    }
    let directory = directory_in(parent, name).map_err(|cause| refused(path, cause))?;
    let metadata = directory.metadata().map_err(Problem::at(path))?;

    // Nobody but root can have moved a directory of root's here: that takes the right to write in it.
    if ![owner.uid, rustix::process::geteuid().as_raw()].contains(&metadata.uid()) {
        return Err(Problem::NotOurs { path: path.to_owned(), what: "belongs to another user" });
    }
    give(&directory, owner).map_err(Problem::at(path))?;
    fchmod(&directory, Mode::RWXU).map_err(|errno| Problem::at(path)(errno.into()))?;
    Ok(directory)
}

/// Opens the file `name` in `parent` for locking; made for `owner` if absent.
pub(super) fn lock_file(parent: &File, name: &Path, path: &Path, owner: Owner) -> Result<File, Problem> {
    let file = open_or_create(parent, name, path, owner)?;
    // One of this process's user is as good: another process of the same user may have just made it.
    check(&file, path, &[owner.uid, rustix::process::geteuid().as_raw()])?;
    Ok(file)
}

/// Opens the file `name` in `parent` for reading and appending; made for `owner` if absent.
pub(super) fn own_file(parent: &File, name: &Path, path: &Path, owner: Owner) -> Result<File, Problem> {
    let file = open_or_create(parent, name, path, owner)?;
    check(&file, path, &[owner.uid])?;
    Ok(file)
}

fn open_or_create(parent: &File, name: &Path, path: &Path, owner: Owner) -> Result<File, Problem> {
    let flags = OFlags::RDWR | OFlags::APPEND | SAFE;

    // A second round, when another process made or removed it in between.
    for _ in 0..2 {
        match openat(parent, name, flags, Mode::empty()) {
            Ok(file) => return Ok(file.into()),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(refused(path, errno.into())),
        }
        match openat(parent, name, flags | OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR) {
            Ok(file) => {
                let file = File::from(file);
                give(&file, owner).map_err(Problem::at(path))?;
                return Ok(file);
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(refused(path, errno.into())),
        }
    }
    Err(Problem::NotOurs { path: path.to_owned(), what: "changes while it is opened" })
}

/// Opens a file of `owner` for appending; it must be there.
pub(super) fn append(parent: &File, name: &Path, path: &Path, owner: Owner) -> Result<File, Problem> {
    let opened = openat(parent, name, OFlags::WRONLY | OFlags::APPEND | SAFE, Mode::empty());
    let file = File::from(opened.map_err(|errno| refused(path, errno.into()))?);
    check(&file, path, &[owner.uid])?;
    Ok(file)
}

/// Reads a small regular file that is no link; `None` when there is none, or when it is anything else.
pub(super) fn read_small(path: &Path) -> Option<Vec<u8>> {
    let file: File = openat(CWD, path, OFlags::RDONLY | SAFE, Mode::empty()).ok()?.into();
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(LONGEST_SMALL_FILE).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Refuses what is no regular file with one name that belongs to one of `owners`. A file of another user is not given
/// away: the owner of the directory may have moved it here.
fn check(file: &File, path: &Path, owners: &[u32]) -> Result<(), Problem> {
    let metadata = file.metadata().map_err(Problem::at(path))?;
    let what = match () {
        () if !metadata.is_file() => "is no regular file",
        () if !owners.contains(&metadata.uid()) => "belongs to another user",
        () if metadata.nlink() > 1 => "has a second name",
        () => return Ok(()),
    };
    Err(Problem::NotOurs { path: path.to_owned(), what })
}

/// Changes the owner of what was opened.
pub(super) fn give(file: &File, owner: Owner) -> io::Result<()> {
    let metadata = file.metadata()?;
    if metadata.uid() == owner.uid {
        return Ok(());
    }
    Ok(fchown(file, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?)
}

fn refused(path: &Path, cause: io::Error) -> Problem {
    match Errno::from_io_error(&cause) {
        // What O_NOFOLLOW says of a link, alone and together with O_DIRECTORY.
        Some(Errno::LOOP) => Problem::NotOurs { path: path.to_owned(), what: "is a link" },
        Some(Errno::NOTDIR) => Problem::NotOurs { path: path.to_owned(), what: "is a link, or no directory" },
        // O_NONBLOCK on a pipe that nobody reads.
        Some(Errno::NXIO) => Problem::NotOurs { path: path.to_owned(), what: "is no regular file" },
        _ => Problem::at(path)(cause),
    }
}
