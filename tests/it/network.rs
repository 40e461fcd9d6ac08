//! Connections over the network: TLS in all its modes, passwords, several hosts.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use diesel::{select, sql_types::Bool};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use starter::{
    db::{Session, Target, embedded::Cluster},
    domain::Error,
};
use tempfile::TempDir;

/// Every kind of character that a URL has to encode, and some that PostgreSQL would mind.
const PASSWORD: &str = r#"a b@c:d/e?f&g=h#i%j'k"l\m{ü💩"#;
const SESSION: Session =
    Session { connect_timeout: Duration::from_secs(30), statement_timeout: None, scans: true };

/// A server that listens on localhost, asks for passwords, and shows a certificate for `localhost`.
struct Server {
    cluster: Cluster,
    port: u16,
    parent: TempDir,
}

impl Server {
    async fn start(tls: bool) -> Self {
        let parent =
            tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
        let directory = parent.path().join("postgres");
        let cluster = Cluster::start(&directory).unwrap();
        let mut connection = target(cluster.url()).dial(SESSION).await.unwrap();
        let quoted = PASSWORD.replace('\'', "''");
        connection
            .batch_execute(&format!("CREATE ROLE \"odd user\" LOGIN PASSWORD '{quoted}'"))
            .await
            .unwrap();
        drop(connection);
        cluster.stop().unwrap();
        certificates(parent.path(), &directory.join("data"));
        fs::write(directory.join("data/pg_hba.conf"), "host all all all scram-sha-256\n").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = [
            ("listen_addresses", "localhost"),
            ("port", &port.to_string()),
            ("ssl", if tls { "on" } else { "off" }),
            ("ssl_cert_file", "server.crt"),
            ("ssl_key_file", "server.key"),
            ("fsync", "off"),
        ];
        let cluster = Cluster::start_with(&directory, &settings).unwrap();
        Self { cluster, port, parent }
    }

    fn url(&self, host: &str, rest: &str) -> String {
        let password = percent_encoding::utf8_percent_encode(PASSWORD, percent_encoding::NON_ALPHANUMERIC);
        format!("postgres://odd%20user:{password}@{host}:{}/starter?{rest}", self.port)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.parent.path().join(name)
    }
}

/// An authority, another one, and the server's certificate by the first.
fn certificates(directory: &Path, data: &Path) {
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        let ran = command.args(arguments.split(' ')).current_dir(directory).output();
        let ran = ran.expect("openssl, which comes with PostgreSQL");
        assert!(ran.status.success(), "{arguments}: {}", String::from_utf8_lossy(&ran.stderr));
    };
    let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for authority in ["ca", "other"] {
        openssl(&format!(
            "req -x509 {new_key} -keyout {authority}.key -out {authority}.crt -subj /CN={authority} -days 2"
        ));
    }
    fs::write(directory.join("san"), "subjectAltName=DNS:localhost\n").unwrap();
    openssl(&format!("req {new_key} -keyout server.key -out server.csr -subj /CN=localhost"));
    openssl(
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 2 -extfile san",
    );
    let owner = fs::metadata(data).unwrap().uid();
    for name in ["server.crt", "server.key"] {
        fs::copy(directory.join(name), data.join(name)).unwrap();
        fs::set_permissions(data.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        chown(data.join(name), Some(owner), None).unwrap();
    }
}

fn target(url: &str) -> Target {
    Target::parse(&url.into()).unwrap()
}

/// Whether the connection to `url` is encrypted.
async fn encrypted(url: &str) -> Result<bool, Error> {
    let mut connection = Target::parse(&url.into())?.dial(SESSION).await?;
    let query = diesel::dsl::sql::<Bool>("(SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())");
    Ok(select(query).get_result(&mut connection).await?)
}

#[tokio::test]
async fn every_mode_of_tls_does_what_libpq_says() {
    let server = Server::start(true).await;
    let (ca, other) = (server.file("ca.crt"), server.file("other.crt"));
    let (ca, other) = (ca.display(), other.display());
    for (host, rest, expected) in [
        ("localhost", "sslmode=disable".to_owned(), Some(false)),
        ("localhost", String::new(), Some(true)),
        ("localhost", "sslmode=prefer".to_owned(), Some(true)),
        ("localhost", "sslmode=require".to_owned(), Some(true)),
        ("127.0.0.1", "sslmode=require&channel_binding=require".to_owned(), Some(true)),
        ("localhost", format!("sslmode=require&sslrootcert={ca}"), Some(true)),
        ("localhost", format!("sslmode=require&sslrootcert={other}"), None),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={ca}"), Some(true)),
        ("localhost", format!("sslmode=verify-ca&sslrootcert={other}"), None),
        ("localhost", format!("sslmode=verify-full&sslrootcert={ca}"), Some(true)),
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={ca}"), None),
        ("localhost", format!("sslmode=verify-full&sslrootcert={other}"), None),
        ("localhost", "sslmode=verify-full&sslrootcert=/nowhere".to_owned(), None),
        // The operating system does not know this authority.
        ("localhost", "sslmode=verify-full".to_owned(), None),
    ] {
        let answer = encrypted(&server.url(host, &rest)).await;
        assert_eq!(answer.as_ref().ok(), expected.as_ref(), "{host} {rest}: {answer:?}");
        if let Err(error) = answer {
            assert!(matches!(error, Error::Unavailable { .. }), "{host} {rest}: {error:?}");
        }
    }
    server.cluster.stop().unwrap();
}

#[tokio::test]
async fn without_tls_on_the_server_prefer_goes_on_and_require_does_not() {
    let server = Server::start(false).await;
    assert!(!encrypted(&server.url("localhost", "sslmode=prefer")).await.unwrap());
    let error = encrypted(&server.url("localhost", "sslmode=require")).await.unwrap_err().to_string();
    assert!(error.contains("does not support TLS"), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_told_at_once_and_not_shown() {
    let server = Server::start(false).await;
    let url = server.url("localhost", "").replacen("odd%20user:", "odd%20user:hunter2", 1);
    let limits = starter::db::Limits { connect_timeout: Duration::from_secs(600), ..Default::default() };
    let error = starter::db::connect(&target(&url), limits).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("password authentication failed") && !text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn of_several_hosts_the_first_that_fits_is_taken() {
    let server = Server::start(false).await;
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hosts = format!("{nobody},localhost");
    for attributes in ["any", "read-write"] {
        let url = server.url(&hosts, &format!("target_session_attrs={attributes}"));
        encrypted(&url).await.unwrap_or_else(|error| panic!("{attributes}: {error}"));
    }
    let error = encrypted(&server.url(&hosts, "target_session_attrs=read-only")).await.unwrap_err();
    assert!(error.to_string().contains("database is not read only"), "{error}");
}

#[tokio::test]
async fn errors_bring_their_code_encrypted_or_not() {
    let raise = "do $$ begin raise exception using errcode = '53100', message = 'kein Platz'; end $$";
    let server = Server::start(true).await;
    for mode in ["disable", "prefer", "require"] {
        let url = server.url("localhost", &format!("sslmode={mode}"));
        let mut connection = target(&url).dial(SESSION).await.unwrap();
        let error = Error::from(connection.batch_execute(raise).await.unwrap_err());
        assert!(matches!(error, Error::Unavailable { what: "database", .. }), "{mode}: {error:?}");
    }
}
