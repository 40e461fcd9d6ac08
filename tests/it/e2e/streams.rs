//! Event streams of clients that read slowly, or not at all, cost a real server little memory.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use super::*;

/// Memory of a process in bytes: what it has now (`VmRSS`) or the most that it had (`VmHWM`).
pub(crate) fn memory(running: &Running, which: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", running.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(which)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}

/// Opens a stream, with a small buffer at this end. It has begun when this returns.
async fn open(running: &Running, token: &str) -> TcpStream {
    let address = running.url().unwrap().trim_start_matches("http://").parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let request =
        format!("GET /api/v1/tasks/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    tokio::time::timeout(LONG, stream.peek(&mut start)).await.expect("an answer").unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    stream
}

/// Streams of an admin, of which so many sip 60 KB a second and so many read nothing, while `statements` of a thousand tasks each
/// are written. Returns by how much the memory of the server grew at most.
pub(crate) async fn of_slow_readers(
    running: &Running,
    database: &TestDatabase,
    token: &str,
    (sipping, idle): (usize, usize),
    statements: usize,
) -> u64 {
    let before = memory(running, "VmRSS");
    let mut deaf = Vec::new();
    for _ in 0..idle {
        deaf.push(open(running, token).await);
    }
    for _ in 0..sipping {
        let mut stream = open(running, token).await;
        tokio::spawn(async move {
            let mut sip = [0; 1_200];
            while stream.read(&mut sip).await.is_ok_and(|read| read > 0) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }

    let insert = "insert into tasks (id, task_type, queue, max_attempts, timeout_secs)
        select gen_random_uuid(), 'noop', 'nobody', 1, 60 from generate_series(1, 1000)";
    for _ in 0..statements {
        database.sql(insert).await;
    }
    // Somebody who reads hears of what comes after it.
    let mut ear = open(running, token).await;
    let marker = running.enqueue(token, json!({})).await;
    let (mut text, mut some) = (String::new(), vec![0; 65_536]);
    while !text.contains(&marker) {
        let read = tokio::time::timeout(LONG, ear.read(&mut some)).await.expect("an event").unwrap();
        assert!(read > 0, "the stream goes on");
        text.push_str(&String::from_utf8_lossy(&some[..read]));
    }
    memory(running, "VmHWM").saturating_sub(before)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_hardly_anybody_reads_cost_little_memory() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();

    let database = TestDatabase::create().await;
    let settings =
        [("STARTER__RATE_LIMIT__PER_SECOND", "0"), ("STARTER__SERVER__MAX_STREAMS_PER_USER", "1000")];
    let server = Running::start("server", &database, &settings).await;
    let token = server.log_in("root-of-all").await;
    let grown = of_slow_readers(&server, &database, &token, (20, 500), 100).await;
    eprintln!("520 streams that hardly anybody reads: {} MB", grown >> 20);
    assert!(grown < 128 << 20, "{} MB", grown >> 20);
}
