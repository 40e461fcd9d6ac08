//! The scripts of the repository, on machines that lack what they need: stand-ins for programs come first in `PATH`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

/// A folder of stand-ins, and nothing else but what every system has.
struct Machine {
    programs: TempDir,
}

impl Machine {
    fn new() -> Self {
        let programs = tempfile::tempdir().unwrap();
        for program in
            ["bash", "cut", "dirname", "env", "head", "id", "mkdir", "printf", "sed", "sort", "tee"]
        {
            let real = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(program));
            let real = real.iter().find(|path| path.exists()).expect("a standard program");
            std::os::unix::fs::symlink(real, programs.path().join(program)).unwrap();
        }
        Self { programs }
    }

    /// Puts a shell script in place of a program.
    fn with(self, program: &str, script: &str) -> Self {
        let path = self.programs.path().join(program);
        // A link to the real one would be written through.
        let _ = fs::remove_file(&path);
        fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn run(&self, script: &str) -> Output {
        let root = env!("CARGO_MANIFEST_DIR");
        Command::new("/bin/bash")
            .args(["-c", script])
            .current_dir(root)
            .env_clear()
            .env("PATH", self.programs.path())
            .output()
            .unwrap()
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn an_old_rust_is_refused_with_the_version_that_is_needed() {
    let machine = Machine::new().with("cargo", "echo 'cargo 1.65.0 (4bc8f24d3 2022-10-20)'");
    let output = machine.run("scripts/prepare run");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(errors(&output), "error: Rust 1.95 or newer is needed, this is 1.65.0: https://rustup.rs\n");
}

#[test]
fn without_cargo_or_home_the_scripts_name_rustup() {
    let output = Machine::new().run("scripts/run");
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).starts_with("error: Rust is needed: install it from https://rustup.rs"));
}

#[test]
fn without_root_and_sudo_one_line_names_the_whole_command() {
    let machine = Machine::new()
        .with("cargo", "echo 'cargo 1.99.0 (0 2027-01-01)'")
        .with("apt-get", "echo installed anyway >&2")
        .with("id", "echo 1000");
    let output = machine.run("scripts/prepare run");
    assert_eq!(output.status.code(), Some(1));
    let errors = errors(&output);
    assert!(errors.starts_with("error: missing: gcc libc6-dev"), "{errors}");
    assert!(errors.contains("there is no sudo; as root: apt-get install gcc libc6-dev"), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

#[test]
fn a_refused_sudo_is_asked_once_only() {
    let machine = Machine::new()
        .with("cargo", "echo 'cargo 1.99.0 (0 2027-01-01)'")
        .with("apt-get", "echo installed anyway >&2")
        .with("sudo", "echo asked >&2; exit 1")
        .with("id", "echo 1000");
    let output = machine.run("scripts/prepare run");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(errors(&output).matches("asked").count(), 1, "{}", errors(&output));
    assert!(errors(&output).contains("sudo refused; as root: apt-get install"), "{}", errors(&output));
}

#[test]
fn a_folder_with_quotes_in_its_name_is_found() {
    let metadata = r#"printf '%s' '{"packages":[],"target_directory":"/home/ada/my \"new\" \\ one/target","version":1}'"#;
    let machine = Machine::new().with("cargo", metadata);
    let output = machine.run(". scripts/lib; target_directory");
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), r#"/home/ada/my "new" \ one/target"#);
}

#[test]
fn steps_are_bold_on_terminals_only() {
    let output = Machine::new().run(". scripts/lib; say building");
    assert_eq!(errors(&output), "==> building\n");
}
