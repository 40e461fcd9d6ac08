use std::io::Write;

use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::*;

const NONE: [(&str, &str); 0] = [];

fn problems<const N: usize>(pairs: [(&str, &str); N]) -> Vec<String> {
    match Config::from_pairs(pairs) {
        Ok(_) => Vec::new(),
        Err(Invalid(problems)) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// The variables that were complained of, in order.
fn blamed<const N: usize>(pairs: [(&str, &str); N]) -> Vec<String> {
    match Config::from_pairs(pairs) {
        Ok(_) => Vec::new(),
        Err(Invalid(problems)) => problems.into_iter().map(|problem| problem.variable).collect(),
    }
}

fn source_of(config: &Config, variable: &str) -> String {
    config.entries().into_iter().find(|entry| entry.key.variable == variable).unwrap().source
}

#[test]
fn nothing_set_is_a_whole_configuration() {
    let config = Config::from_pairs(NONE).unwrap();
    assert_eq!(config.server.port, 3000);
    assert_eq!(config.server.public_url(3000), "http://127.0.0.1:3000");
    assert!(config.database.embedded() && config.database.auto_migrate());
    assert_eq!(config.worker.queues, ["default"]);
    assert!(config.entries().iter().all(|entry| entry.source == "default"));
}

#[test]
fn every_default_is_allowed_where_it_is_written_down() {
    for key in Config::keys() {
        let Some(default) = key.default.filter(|default| default != section::CORES) else { continue };
        assert_eq!(blamed([(key.variable.as_str(), default.as_str())]), [""; 0], "{}", key.variable);
    }
}

#[test]
fn all_problems_are_told_at_once_also_those_of_one_section() {
    let found = problems([
        ("STARTER__SERVER__PORT", "http"),
        ("STARTER__SERVER__WORKERS", "0"),
        ("STARTER__SERVER__REQUEST_TIMEOUT_SECS", "-1"),
        ("STARTER__AUTH__CACHE", "yes"),
        ("STARTER__SERVER__PROT", "1"),
        ("STARTER__SERVR__PORT", "1"),
        ("STARTER__DATABASE__MIN_CONNECTIONS", "11"),
    ]);
    let starts = [
        "STARTER__SERVER__PROT: unknown variable; STARTER__SERVER__… has HOST, PORT, ",
        "STARTER__SERVR__PORT: unknown section; there are SERVER, DATABASE, ",
        "STARTER__SERVER__PORT: not a whole number; a whole number from 0 to 65535",
        "STARTER__SERVER__REQUEST_TIMEOUT_SECS: not a whole number; a whole number from 1 to 3600",
        "STARTER__SERVER__WORKERS: out of range; a whole number from 1 to 1024",
        "STARTER__AUTH__CACHE: neither true nor false; true or false",
        "STARTER__DATABASE__MIN_CONNECTIONS: more than STARTER__DATABASE__MAX_CONNECTIONS; at most ",
    ];
    for start in starts {
        assert!(found.iter().any(|line| line.starts_with(start)), "{start}\nis not in\n{}", found.join("\n"));
    }
    assert_eq!(found.len(), starts.len(), "{}", found.join("\n"));
}

#[test]
fn an_empty_value_is_unset() {
    let config = Config::from_pairs([("STARTER__SERVER__PORT", ""), ("STARTER__DATABASE__URL", "")]).unwrap();
    assert_eq!(config.server.port, 3000);
    assert!(config.database.embedded());
    assert_eq!(source_of(&config, "STARTER__SERVER__PORT"), "default");
}

#[test]
fn lists_bear_spaces() {
    let pairs = [
        ("STARTER__WORKER__QUEUES", "mail, default ,"),
        ("STARTER__SERVER__TRUSTED_PROXIES", "10.0.0.0/8, ::1/128"),
    ];
    let config = Config::from_pairs(pairs).unwrap();
    assert_eq!(config.worker.queues, ["mail", "default"]);
    assert_eq!(config.server.trusted_proxies.len(), 2);
    assert_eq!(blamed([("STARTER__SERVER__TRUSTED_PROXIES", "10.0.0.0/8,here")]).len(), 1);
    assert_eq!(blamed([("STARTER__WORKER__QUEUES", "a b")]), ["STARTER__WORKER__QUEUES"]);
    assert_eq!(blamed([("STARTER__WORKER__QUEUES", "Mail")]), ["STARTER__WORKER__QUEUES"]);
}

#[test]
fn origins_must_be_written_as_browsers_send_them() {
    const ORIGINS: &str = "STARTER__SERVER__CORS_ORIGINS";
    for good in ["https://app.example.org", "http://localhost:5173,https://a.example"] {
        assert_eq!(blamed([(ORIGINS, good)]), [""; 0], "{good}");
    }
    for bad in [
        "*",
        "https://a.example,*",
        "null",
        "https://a.example/",
        "https://A.example",
        "https://a.example:443",
    ] {
        assert_eq!(blamed([(ORIGINS, bad)]), [ORIGINS], "{bad}");
    }
}

#[test]
fn values_that_contradict_each_other_are_refused() {
    const IDLE: &str = "STARTER__AUTH__SESSION_IDLE_SECS";
    const ABSOLUTE: &str = "STARTER__AUTH__SESSION_ABSOLUTE_SECS";
    assert_eq!(blamed([(IDLE, "7200"), (ABSOLUTE, "3600")]), [IDLE]);
    assert_eq!(blamed([(IDLE, "7200"), (ABSOLUTE, "x")]), [ABSOLUTE], "only what is known to be wrong");
    assert_eq!(
        blamed([("STARTER__AUTH__ARGON2_MEMORY_KIB", "8"), ("STARTER__AUTH__ARGON2_PARALLELISM", "2")]),
        ["STARTER__AUTH__ARGON2_MEMORY_KIB"]
    );
    assert_eq!(
        blamed([("STARTER__DATABASE__URL", "postgres://h/d"), ("STARTER__DATABASE__HOST", "h")]),
        ["STARTER__DATABASE__URL"]
    );
    assert_eq!(
        blamed([("STARTER__DATABASE__LISTEN_URL", "postgres://h/d")]),
        ["STARTER__DATABASE__LISTEN_URL"]
    );
    for length in ["7", "257"] {
        assert_eq!(blamed([("STARTER__AUTH__PASSWORD_MIN_LENGTH", length)]).len(), 1);
    }
}

#[test]
fn the_first_admin_is_whole_or_not_at_all() {
    const NAME: (&str, &str) = ("STARTER__INITIAL_ADMIN__USERNAME", "root");
    const EMAIL: (&str, &str) = ("STARTER__INITIAL_ADMIN__EMAIL", "root@example.org");
    const PASSWORD: (&str, &str) = ("STARTER__INITIAL_ADMIN__PASSWORD", "correct battery staple");
    assert_eq!(blamed([NAME]), [EMAIL.0, PASSWORD.0]);
    assert!(Config::from_pairs([NAME, EMAIL, PASSWORD]).unwrap().initial_admin.get().is_some());
    assert!(Config::from_pairs(NONE).unwrap().initial_admin.get().is_none());
    assert_eq!(blamed([(NAME.0, "r"), (EMAIL.0, "root"), PASSWORD]), [NAME.0, EMAIL.0]);
    for bad in ["short", "password1234"] {
        assert_eq!(blamed([NAME, EMAIL, (PASSWORD.0, bad)]), [PASSWORD.0], "{bad}");
    }
}

#[test]
fn database_url_of_the_diesel_cli_serves_when_nothing_else_is_set() {
    let alias = ("DATABASE_URL", "postgres://diesel@h/d");
    let config = Config::from_pairs([alias]).unwrap();
    assert_eq!(config.database.connection_url().unwrap().expose_secret(), alias.1);
    assert_eq!(source_of(&config, "STARTER__DATABASE__URL"), "environment DATABASE_URL");
    let config = Config::from_pairs([alias, ("STARTER__DATABASE__URL", "postgres://own@h/d")]).unwrap();
    assert_eq!(config.database.connection_url().unwrap().expose_secret(), "postgres://own@h/d");
    let config = Config::from_pairs([alias, ("STARTER__DATABASE__NAME", "n")]).unwrap();
    assert!(config.database.connection_url().unwrap().expose_secret().ends_with("/n?sslmode=prefer"));
}

#[test]
fn a_flag_wins_and_replaces_every_part_of_the_database() {
    let flags = Overrides::default().with("--port", "STARTER__SERVER__PORT", Some(&"4000".to_owned())).with(
        "--database-url",
        "STARTER__DATABASE__URL",
        Some(&"postgres://flag@h/d".to_owned()),
    );
    let pairs = [("STARTER__SERVER__PORT", "5000"), ("STARTER__DATABASE__HOST", "h")];
    let pairs = pairs.map(|(variable, value)| (variable.to_owned(), value.to_owned()));
    let config = Config::read(Layers::of_pairs(pairs.into_iter(), &flags)).unwrap();
    assert_eq!(config.server.port, 4000);
    assert_eq!(source_of(&config, "STARTER__SERVER__PORT"), "flag --port");
    assert_eq!(config.database.connection_url().unwrap().expose_secret(), "postgres://flag@h/d");
}

#[test]
fn a_secret_may_come_from_a_file() {
    const PASSWORD: &str = "STARTER__DATABASE__PASSWORD";
    const FILE: &str = "STARTER__DATABASE__PASSWORD_FILE";
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"s3cret \n").unwrap();
    let path = file.path().to_str().unwrap();
    let config = Config::from_pairs([(FILE, path)]).unwrap();
    assert_eq!(config.database.password.as_ref().unwrap().expose_secret(), "s3cret ");
    assert_eq!(source_of(&config, PASSWORD), format!("file {path}"));

    assert_eq!(blamed([(FILE, path), (PASSWORD, "other")]), [FILE]);
    let missing = problems([(FILE, "/no/such/file")]);
    assert_eq!(missing.len(), 1);
    assert!(missing[0].starts_with(FILE) && missing[0].contains("entity not found"), "{missing:?}");
    assert_eq!(blamed([("STARTER__SERVER__HOST_FILE", path)]), ["STARTER__SERVER__HOST_FILE"], "no secret");
}

#[test]
fn a_problem_with_a_value_of_a_file_does_not_tell_the_value() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"hunter2 is no url").unwrap();
    let path = file.path().to_str().unwrap();
    let found =
        problems([("STARTER__DATABASE__URL_FILE", path), ("STARTER__SERVER__PORT", "hunter2")]).join("\n");
    assert!(
        found.contains(&format!("STARTER__DATABASE__URL: not a URL (from file {path}); postgres://")),
        "{found}"
    );
    assert!(!found.contains("hunter2"), "{found}");
}

#[test]
fn no_secret_is_ever_shown() {
    let config = Config::from_pairs([
        (
            "STARTER__DATABASE__URL",
            "postgres://app:hunter2@a:1,b:2/d?target_session_attrs=read-write&password=hunter2",
        ),
        ("STARTER__DATABASE__LISTEN_URL", "postgres://app:hunter2%40hunter2@a/d"),
        ("STARTER__MAIL__URL", "smtp://mailer:hunter2@mail.example:2525?tls=none"),
        ("STARTER__WEBHOOK__SECRET", "whsec_aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMmh1bnRlcjI="),
        ("STARTER__INITIAL_ADMIN__USERNAME", "root"),
        ("STARTER__INITIAL_ADMIN__EMAIL", "root@example.org"),
        ("STARTER__INITIAL_ADMIN__PASSWORD", "hunter2 hunted no deer"),
    ])
    .unwrap();
    let parts = [
        format!("{:?} {:?}", config.database, config.mail),
        format!("{:?} {:?}", config.webhook, config.initial_admin),
    ];
    for text in [format!("{config:?}"), format!("{config:#?}"), parts.concat()] {
        assert!(!text.contains("hunter2") && !text.contains("aHVudGVy"), "{text}");
    }
    let shown = format!("{config:?}");
    for url in [
        "postgres://app:********@a:1,b:2/d?target_session_attrs=read-write&password=********",
        "postgres://app:********@a/d",
        "smtp://mailer:********@mail.example:2525?tls=none",
    ] {
        assert!(shown.contains(url), "{url} is not in {shown}");
    }
}

#[test]
fn values_with_a_form_are_checked() {
    for (variable, bad) in [
        ("STARTER__SERVER__HOST", "http://example.org"),
        ("STARTER__SERVER__HOST", "localhost:3000"),
        ("STARTER__SERVER__PUBLIC_URL", "ftp://example.org"),
        ("STARTER__SERVER__PUBLIC_URL", "https://user@example.org"),
        ("STARTER__SERVER__PUBLIC_URL", "https://example.org/?q"),
        ("STARTER__DATABASE__URL", "mysql://h/d"),
        ("STARTER__DATABASE__URL", "postgres:///d"),
        ("STARTER__DATABASE__URL", "postgres://u:p@ss@h/d"),
        ("STARTER__DATABASE__URL", "postgres://h:port/d"),
        ("STARTER__DATABASE__URL", "postgres://h:70000/d"),
        ("STARTER__DATABASE__SSLMODE", "on"),
        ("STARTER__MAIL__FROM", "nobody"),
        ("STARTER__WEBHOOK__SECRET", "whsec_c2hvcnQ="),
        ("STARTER__TELEMETRY__LOG_FORMAT", "yaml"),
        ("STARTER__AUTH__REGISTRATION", "maybe"),
    ] {
        let blamed = blamed([(variable, bad), ("STARTER__DATABASE__AUTO_MIGRATE", "true")]);
        assert!(blamed.iter().any(|name| name == variable), "{variable}={bad}: {blamed:?}");
    }
    assert_eq!(blamed([("RUST_LOG", "info,starter=loud")]), ["STARTER__TELEMETRY__LOG_FILTER"]);
    let config = Config::from_pairs([("STARTER__SERVER__PUBLIC_URL", "https://example.org/app/")]).unwrap();
    assert_eq!(config.server.public_url(1), "https://example.org/app");
    assert!(config.server.is_https());
}

#[test]
fn the_example_file_names_every_key_and_loads() {
    let example = include_str!("../../.env.example");
    assert_eq!(example, Config::example(), "bring it up to date: starter config example > .env.example");
    let all_on = example.replace("\n#STARTER__", "\nSTARTER__");
    let pairs: Vec<_> = dotenvy::from_read_iter(all_on.as_bytes()).map(Result::unwrap).collect();
    assert_eq!(pairs.len(), Config::keys().len());
    Config::from_pairs(pairs).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_value_of_any_key_makes_the_loader_panic_or_is_quoted(nth in 0usize..1000, value in "\\PC{1,40}") {
        let keys = Config::keys();
        let variable = keys[nth % keys.len()].variable.clone();
        let marked = format!("{value}hunter2");
        if let Err(invalid) = Config::from_pairs([(variable, marked)]) {
            prop_assert!(!invalid.to_string().contains("hunter2"), "{invalid}");
        }
    }
}
