//! Whoever runs code as the account of the database server cannot turn a start by root against root.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown, lchown, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
};

use starter::db::embedded::{Cluster, stop_unused};

use super::{assert_failed, embedded, is_root, skip};
use crate::embedded::directory;

/// What must stay as it is.
fn precious(parent: &Path) -> PathBuf {
    let file = parent.join("shadow");
    fs::write(&file, "root:secret\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file
}

fn assert_untouched(file: &Path) {
    let metadata = fs::metadata(file).unwrap();
    assert_eq!(metadata.uid(), rustix::process::geteuid().as_raw());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(file).unwrap(), "root:secret\n");
}

/// A cluster, made and stopped, and the account that owns it.
fn made() -> (tempfile::TempDir, PathBuf, u32) {
    let (parent, directory) = directory();
    Cluster::start(&directory).unwrap().stop().unwrap();
    let owner = fs::metadata(directory.join("data")).unwrap().uid();
    (parent, directory, owner)
}

#[test]
fn a_link_in_the_place_of_a_file_is_never_followed() {
    for name in ["log", "start.lock", "users.lock"] {
        let (parent, directory, _) = made();
        let target = precious(parent.path());
        fs::remove_file(directory.join(name)).unwrap();
        symlink(&target, directory.join(name)).unwrap();
        for mode in ["standalone", "server", "worker"] {
            let ran = embedded(&[mode], &directory).run();
            assert_failed(&ran, "is a link, so it is left alone");
            assert_failed(&ran, name);
        }
        assert_untouched(&target);
    }
}

#[test]
fn a_link_to_where_nothing_is_makes_nothing_there() {
    for name in ["log", "start.lock", "users.lock"] {
        let (parent, directory, _) = made();
        let target = parent.path().join("made_by_a_start");
        fs::remove_file(directory.join(name)).unwrap();
        symlink(&target, directory.join(name)).unwrap();
        assert_failed(&embedded(&["server"], &directory).run(), "is a link");
        assert!(!target.exists());
    }
}

#[test]
fn a_link_in_the_place_of_the_sockets_directory_is_never_followed() {
    let (parent, directory, _) = made();
    let target = parent.path().join("etc");
    fs::create_dir(&target).unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_dir_all(directory.join("run")).unwrap();
    symlink(&target, directory.join("run")).unwrap();
    assert_failed(&embedded(&["server"], &directory).run(), "is a link");
    let metadata = fs::metadata(&target).unwrap();
    assert_eq!(metadata.uid(), rustix::process::geteuid().as_raw());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
}

#[test]
fn a_second_name_of_a_file_and_what_is_no_file_are_refused() {
    let (parent, directory, owner) = made();
    let other = parent.path().join("other");
    fs::write(&other, "").unwrap();
    chown(&other, Some(owner), None).unwrap();
    fs::remove_file(directory.join("log")).unwrap();
    fs::hard_link(&other, directory.join("log")).unwrap();
    assert_failed(&embedded(&["server"], &directory).run(), "log has a second name");

    fs::remove_file(directory.join("log")).unwrap();
    fs::create_dir(directory.join("log")).unwrap();
    assert_failed(&embedded(&["server"], &directory).run(), "log");

    fs::remove_dir(directory.join("log")).unwrap();
    let pipe = Command::new("mkfifo").arg(directory.join("log")).status().unwrap();
    assert!(pipe.success());
    assert_failed(&embedded(&["server"], &directory).run(), "log is no regular file");
}

#[test]
fn a_file_of_roots_is_not_given_away() {
    if !is_root() {
        return skip("only root could give it away");
    }
    // Moved into the directory by its owner, from another folder that the account may write to.
    let (parent, directory, _) = made();
    let target = precious(parent.path());
    fs::rename(&target, directory.join("log")).unwrap();
    assert_failed(&embedded(&["server"], &directory).run(), "log belongs to another user");
    assert_untouched(&directory.join("log"));
}

#[test]
fn data_behind_a_link_does_not_choose_whose_account_is_used() {
    if !is_root() {
        return skip("only root chooses an account");
    }
    let (parent, directory, owner) = made();
    let moved = parent.path().join("moved");
    fs::rename(directory.join("data"), &moved).unwrap();
    symlink(&moved, directory.join("data")).unwrap();
    lchown(directory.join("data"), Some(owner), None).unwrap();
    assert_failed(&embedded(&["server"], &directory).run(), "data is a link");
}

#[test]
fn a_directory_behind_another_users_link_is_refused() {
    if !is_root() {
        return skip("only root can make a link of another user");
    }
    let (parent, directory, owner) = made();
    let target = parent.path().join("of_root");
    fs::create_dir(&target).unwrap();
    fs::remove_dir_all(&directory).unwrap();
    symlink(&target, &directory).unwrap();
    lchown(&directory, Some(owner), None).unwrap();
    assert_failed(&embedded(&["server"], &directory).run(), "is a link that another user made");
    assert_eq!(fs::metadata(&target).unwrap().uid(), 0);
}

#[test]
fn the_number_in_a_pid_file_chooses_nobody_who_gets_a_signal() {
    if !is_root() {
        return skip("only root can send signals to others");
    }
    let (parent, directory, owner) = made();
    // Looks like a server that answers, and names a process of somebody else that mentions the data.
    let socket = parent.path().join("run");
    fs::create_dir(&socket).unwrap();
    let _listener = UnixListener::bind(socket.join(".s.PGSQL.5432")).unwrap();
    let version = directory.join("data/PG_VERSION");
    let mut tail = Command::new("tail");
    let mut bystander = tail.arg("-f").arg(version).stdout(Stdio::null()).spawn().unwrap();
    let (pid, place, socket) = (bystander.id(), directory.display(), socket.display());
    let file = directory.join("data/postmaster.pid");
    fs::write(&file, format!("{pid}\n{place}\n1\n5432\n{socket}\n\n  1 1\nready   \n")).unwrap();
    chown(&file, Some(owner), None).unwrap();

    let stopped = stop_unused(&directory);
    let lives = bystander.try_wait().unwrap().is_none();
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    stopped.unwrap();
    assert!(lives, "it got the signal");
}

#[test]
fn the_server_sees_nothing_of_the_environment() {
    let (_parent, directory) = directory();
    let migrate =
        embedded(&["migrate", "run"], &directory).env("STARTER__MAIL__URL", "smtp://u:hunter2@localhost");
    let ended = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let looking = scope.spawn(|| look_at_servers(&ended));
        let ran = migrate.run();
        ended.store(true, Ordering::Relaxed);
        assert_eq!(ran.code, 0, "{ran:?}");
        looking.join().unwrap()
    });
    assert!(!seen.contains("hunter2"), "a process of the database server has a secret");

    // And of one that runs, all there is.
    let cluster = Cluster::start(&directory).unwrap();
    let pid = fs::read_to_string(directory.join("data/postmaster.pid")).unwrap();
    let pid = pid.lines().next().unwrap();
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap_or_default();
    let mut names: Vec<_> =
        environment.split('\0').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name).collect();
    names.sort_unstable();
    // PG_GRANDPARENT_PID would be there beside a stale pid file; PostgreSQL itself sets PGLOCALEDIR and the like.
    names.retain(|name| !matches!(*name, "LC_ALL" | "PATH" | "TZ"));
    assert!(names.iter().all(|name| name.starts_with("PG") || name.starts_with("LC_")), "{names:?}");
    cluster.stop().unwrap();
}

/// The environments of all processes called `postgres` or `initdb` until `ended`.
fn look_at_servers(ended: &AtomicBool) -> String {
    let mut seen = String::new();
    while !ended.load(Ordering::Relaxed) {
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            if matches!(name.trim(), "postgres" | "initdb") {
                let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
                seen.push_str(&String::from_utf8_lossy(&environment));
            }
        }
    }
    seen
}
