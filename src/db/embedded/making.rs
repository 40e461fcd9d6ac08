//! Making a cluster, once.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

use super::{
    NAME, PAUSE, Problem, abandon::is_abandoned, binaries::Binaries, files, place::Place, postmaster,
};

/// Written once into a new cluster's `postgresql.conf`, where its owner can change them.
const CONFIGURATION: &str = "
# Written by starter when it made this cluster; change what you like.
max_connections = 200
shared_buffers = 128MB
fsync = on
synchronous_commit = on
full_page_writes = on
wal_level = replica
max_wal_size = 1GB
# Statements here are short; compiling them costs more than it saves.
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_checkpoints = off
log_line_prefix = '%m [%p] '
cluster_name = 'starter'
";

/// Makes the data directory: beside its place, and put there when it is whole.
pub(super) fn make(place: &Place) -> Result<Binaries, Problem> {
    let binaries = Binaries::newest()?;
    log::info!(postgresql = binaries.major(); "embedded database is being made, this once");
    for leftover in place.unfinished_data() {
        // The initdb of a killed process may still be writing there: then it is for the next time.
        let _ = fs::remove_dir_all(leftover);
    }

    let new = place.new_data();
    let opened = place.make_new_data()?;
    // Where the C library lacks the locale, PostgreSQL's own "C" sorts the same, and folds ASCII case only.
    match initialise(place, &binaries, "C.UTF-8") {
        Err(Problem::Failed { output, .. }) if output.contains("locale") => {
            initialise(place, &binaries, "C")?;
        }
        initialised => initialised?,
    }

    let path = new.join("postgresql.conf");
    let mut file = files::append(&opened, Path::new("postgresql.conf"), &path, place.account.owner())?;
    let written = file.write_all(CONFIGURATION.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(Problem::at(&path))?;

    create_database(place, &binaries)?;
    fs::rename(&new, place.data()).map_err(Problem::at(&new))?;
    File::open(place.directory()).and_then(|d| d.sync_all()).map_err(Problem::at(place.directory()))?;
    Ok(binaries)
}

fn initialise(place: &Place, binaries: &Binaries, locale: &str) -> Result<(), Problem> {
    let mut command = place.account.command(&binaries.path("initdb"), place.directory());
    command.arg("--pgdata").arg(place.new_data()).args(["--username", NAME, "--auth", "trust"]);
    command.args(["--encoding", "UTF8", "--locale", locale, "--lc-messages", "C", "--data-checksums"]);
    run("initdb", &mut command, "")
}

/// In single-user mode: no server, no socket, nobody else.
fn create_database(place: &Place, binaries: &Binaries) -> Result<(), Problem> {
    let mut command = place.account.command(&binaries.path("postgres"), place.directory());
    command.arg("--single").arg("-D").arg(place.new_data()).args(["-c", "exit_on_error=on", "postgres"]);
    run("postgres --single", &mut command, &format!("CREATE DATABASE {NAME};\n"))
}

fn run(program: &'static str, command: &mut Command, input: &str) -> Result<(), Problem> {
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let spawn = |cause| Problem::Spawn { program: program.to_owned(), cause };
    let mut child = spawned.map_err(spawn)?;
    if let Some(mut stdin) = child.stdin.take() {
        // An error here is told better by the program's exit and words.
        let _ = stdin.write_all(input.as_bytes());
    }
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (status, words) = thread::scope(|scope| {
        let readers = [scope.spawn(|| read(stdout)), scope.spawn(|| read(stderr))];
        let status = wait(&mut child);
        (status, readers.map(|reader| reader.join().unwrap_or_default()).concat())
    });

    if is_abandoned() {
        return Err(Problem::Abandoned);
    }
    if status.map_err(spawn)?.success() {
        return Ok(());
    }
    Err(Problem::Failed { program, output: postmaster::last_lines(&String::from_utf8_lossy(&words)) })
}

/// Waits for the end of a program, and asks it to end when this process has to.
fn wait(child: &mut Child) -> io::Result<ExitStatus> {
    let mut asked = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if !asked && is_abandoned() {
            // initdb takes away what it made so far.
            let _gone = kill_process(Pid::from_child(child), Signal::TERM);
            asked = true;
        }
        thread::sleep(PAUSE);
    }
}

/// All that a program says, as far as it can be read.
fn read(pipe: Option<impl Read>) -> Vec<u8> {
    let mut said = Vec::new();
    if let Some(mut pipe) = pipe {
        let _so_far = pipe.read_to_end(&mut said);
    }
    said
}
