//! Every failure to open the database ends with exit code 1 and its reason, in every mode.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use super::{PATH, assert_failed, embedded, is_root, skip, with_data};
use crate::{
    embedded::directory,
    process::starter,
    support::db::{TestDatabase, cluster},
};

/// Everything that opens the database; those that make a cluster if there is none come first.
const MODES: [&[&str]; 6] = [
    &["standalone"],
    &["server"],
    &["worker"],
    &["migrate", "run"],
    &["migrate", "status"],
    &["admin", "user", "list"],
];

fn assert_all_fail(directory: &Path, reason: &str) {
    for mode in MODES {
        assert_failed(&embedded(mode, directory).run(), reason);
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_named_in_every_mode() {
    for mode in MODES {
        let ran = embedded(mode, Path::new("/dev/null/x")).run();
        assert_failed(&ran, "/dev/null");
        assert_failed(&ran, "STARTER__DATABASE__");
    }
}

#[test]
fn data_of_another_version_is_named_in_every_mode() {
    let (_parent, directory) = directory();
    with_data(&directory, "9");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    assert_all_fail(&directory, "the data directory was made by PostgreSQL 9");
}

#[test]
fn a_server_that_refuses_is_quoted_in_every_mode() {
    let (_parent, directory) = directory();
    starter::db::embedded::Cluster::start(&directory).unwrap().stop().unwrap();
    fs::remove_file(directory.join("data/global/pg_control")).unwrap();
    assert_all_fail(&directory, "postgres failed: ");
}

#[test]
fn a_database_that_does_not_answer_or_exist_is_named_in_every_mode() {
    cluster();
    let no_database = cluster().url().replace("/starter", "/there_is_none");
    for (url, reason) in [("postgres://app@127.0.0.1:1/app", "127.0.0.1"), (&no_database, "there_is_none")] {
        for mode in MODES {
            let starter = starter(mode).env("STARTER__DATABASE__URL", url).env("STARTER__SERVER__PORT", "0");
            let ran = starter.env("STARTER__DATABASE__CONNECT_TIMEOUT_SECS", "1").run();
            assert_failed(&ran, reason);
        }
    }
}

#[tokio::test]
async fn a_database_that_lets_nobody_in_is_named_in_every_mode() {
    let database = TestDatabase::create().await;
    let url = database.url().replacen("starter@", "nobody_at_all@", 1);
    for mode in MODES {
        let starter = starter(mode).env("STARTER__DATABASE__URL", &url).env("STARTER__SERVER__PORT", "0");
        assert_failed(&starter.run(), "nobody_at_all");
    }
}

#[test]
fn a_directory_out_of_reach_of_the_servers_account_is_named_in_every_mode() {
    if !is_root() {
        return skip("only root starts the server as another account");
    }
    let parent = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap();
    let directory = parent.path().join("postgres");
    with_data(&directory, "15");
    assert_all_fail(&directory, "cannot be used by the account");
}

#[test]
fn a_machine_without_postgresql_or_without_an_account_for_it_is_told_what_to_install() {
    if !is_root() {
        return skip("only root can hide the machine's PostgreSQL and its accounts");
    }
    let parent = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let passwd = parent.path().join("passwd");
    fs::write(&passwd, "root:x:0:0::/root:/bin/sh\n").unwrap();
    let without = "mount -t tmpfs none /usr/lib/postgresql";
    let alone = format!("mount --bind {} /etc/passwd", passwd.display());
    for (hide, reason) in [
        (without, "no PostgreSQL server found on this machine: install it"),
        (&*alone, "no unprivileged account"),
    ] {
        for mode in &MODES[..4] {
            let script = format!("{hide} || exit 77; exec \"$0\" \"$@\"");
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", &script, env!("CARGO_BIN_EXE_starter")]).args(*mode);
            command
                .current_dir(parent.path())
                .env_clear()
                .env("PATH", PATH)
                .env("STARTER__SERVER__PORT", "0");
            let output = command.output().unwrap();
            if matches!(output.status.code(), Some(77) | Some(1) if output.stderr.starts_with(b"unshare")) {
                return skip("this machine makes no mount namespace");
            }
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{stderr}");
            assert!(stderr.lines().last().is_some_and(|last| last.contains(reason)), "{stderr}");
            assert!(!stderr.contains("panicked"), "{stderr}");
        }
    }
}

#[test]
fn a_torn_pid_file_does_not_stop_the_start() {
    let (_parent, directory) = directory();
    starter::db::embedded::Cluster::start(&directory).unwrap().stop().unwrap();
    let file = directory.join("data/postmaster.pid");
    // What a power cut leaves: nothing, zeros, some of it.
    for torn in ["", "\0\0\0\0\0\0\0\0", "\n/srv", "garbage\n"] {
        fs::write(&file, torn).unwrap();
        let ran = embedded(&["migrate", "run"], &directory).run();
        assert_eq!(ran.code, 0, "{torn:?}: {ran:?}");
        assert!(!file.exists());
    }
}

#[test]
fn a_torn_pid_file_is_left_alone_while_the_server_runs() {
    let (_parent, directory) = directory();
    let cluster = starter::db::embedded::Cluster::start(&directory).unwrap();
    let file = directory.join("data/postmaster.pid");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, "").unwrap();
    let error = starter::db::embedded::Cluster::start(&directory).unwrap_err().to_string();
    assert!(error.contains("postgres failed"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), b"");
    fs::write(&file, whole).unwrap();
    cluster.stop().unwrap();
}
