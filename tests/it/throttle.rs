//! Counting failed log-ins: in the database, so that it holds for any number of processes.

use std::{net::IpAddr, time::Duration};

use futures_util::future::join_all;
use starter::{
    db::{Pool, throttle},
    domain::{
        UserId,
        throttle::{Account, Bucket, Limit, Reserved},
    },
};

use crate::support::db::TestDatabase;

const LIMIT: Limit = Limit { tries: 10, window: Duration::from_secs(900), block: Duration::from_secs(900) };

struct Somebody {
    strangers: Bucket,
    known: Bucket,
}

fn somebody() -> Somebody {
    at("192.0.2.1".parse().unwrap(), UserId::new())
}

fn at(address: IpAddr, user: UserId) -> Somebody {
    let account = Account::Of(user);
    Somebody { strangers: Bucket::strangers(account), known: Bucket::known(account, Some(address)) }
}

async fn reserve(pool: &Pool, who: &Somebody, limit: Limit) -> Reserved {
    let mut connection = pool.get().await.unwrap();
    throttle::reserve(&mut connection, &who.known, &who.strangers, limit).await.unwrap()
}

async fn granted(pool: &Pool, who: &Somebody, limit: Limit) -> bool {
    matches!(reserve(pool, who, limit).await, Reserved::Granted { .. })
}

#[tokio::test]
async fn of_a_hundred_tries_at_once_exactly_the_limit_is_let_through() {
    let database = TestDatabase::create().await;
    let (one, other) = (database.pool().await, database.pool().await);
    let who = somebody();
    let tries = (0..100).map(|n| reserve(if n % 2 == 0 { &one } else { &other }, &who, LIMIT));
    let outcomes = join_all(tries).await;
    let through = outcomes.iter().filter(|outcome| matches!(outcome, Reserved::Granted { .. })).count();
    assert_eq!(through, 10);
    let last =
        outcomes.iter().filter(|outcome| matches!(outcome, Reserved::Granted { last: true, .. })).count();
    assert_eq!(last, 1, "one of them blocks");
}

#[tokio::test]
async fn a_refusal_tells_how_long_it_lasts_and_does_not_make_it_longer() {
    let database = TestDatabase::create().await;
    let pool = database.pool().await;
    let who = somebody();
    for _ in 0..10 {
        assert!(granted(&pool, &who, LIMIT).await);
    }
    let mut before = LIMIT.block + Duration::from_secs(1);
    for _ in 0..3 {
        let Reserved::Refused { retry_after } = reserve(&pool, &who, LIMIT).await else { panic!("granted") };
        assert!(retry_after > Duration::from_secs(800) && retry_after < before, "{retry_after:?}");
        before = retry_after;
    }
    database.sql("update login_throttle set blocked_until = now() - interval '1 second'").await;
    assert!(granted(&pool, &who, LIMIT).await, "the block is over");
    for _ in 0..9 {
        assert!(granted(&pool, &who, LIMIT).await, "and the count began anew");
    }
    assert!(!granted(&pool, &who, LIMIT).await);
}

#[tokio::test]
async fn old_failures_are_forgotten() {
    let database = TestDatabase::create().await;
    let pool = database.pool().await;
    let who = somebody();
    for _ in 0..9 {
        assert!(granted(&pool, &who, LIMIT).await);
    }
    database.sql("update login_throttle set window_start = now() - interval '901 seconds'").await;
    for _ in 0..10 {
        assert!(granted(&pool, &who, LIMIT).await);
    }
    assert!(!granted(&pool, &who, LIMIT).await);
}

#[tokio::test]
async fn what_is_given_back_does_not_count_and_lifts_the_block_it_made() {
    let database = TestDatabase::create().await;
    let pool = database.pool().await;
    let who = somebody();
    for _ in 0..9 {
        assert!(granted(&pool, &who, LIMIT).await);
    }
    for _ in 0..5 {
        let Reserved::Granted { bucket, last } = reserve(&pool, &who, LIMIT).await else { panic!("refused") };
        assert!(last);
        assert!(!granted(&pool, &who, LIMIT).await, "while it is under way it counts");
        throttle::refund(&mut pool.get().await.unwrap(), &bucket, LIMIT).await.unwrap();
    }
    assert!(granted(&pool, &who, LIMIT).await);
    assert!(!granted(&pool, &who, LIMIT).await);
}

#[tokio::test]
async fn a_limit_of_one_allows_one() {
    let database = TestDatabase::create().await;
    let pool = database.pool().await;
    let (who, limit) = (somebody(), Limit { tries: 1, ..LIMIT });
    for _ in 0..2 {
        assert!(granted(&pool, &who, limit).await);
        assert!(!granted(&pool, &who, limit).await);
        database.sql("update login_throttle set blocked_until = now() - interval '1 second'").await;
    }
}

#[tokio::test]
async fn strangers_cannot_lock_a_known_address_out() {
    let database = TestDatabase::create().await;
    let pool = database.pool().await;
    let owner = UserId::new();
    let home = at("198.51.100.7".parse().unwrap(), owner);
    throttle::welcome(&mut pool.get().await.unwrap(), &home.known).await.unwrap();
    for n in 0..50 {
        let stranger = at(format!("203.0.113.{n}").parse().unwrap(), owner);
        assert_eq!(granted(&pool, &stranger, LIMIT).await, n < 10, "strangers share one count");
    }
    for _ in 0..10 {
        assert!(granted(&pool, &home, LIMIT).await);
    }
    assert!(!granted(&pool, &home, LIMIT).await, "the known address has a limit too");
    throttle::welcome(&mut pool.get().await.unwrap(), &home.known).await.unwrap();
    assert!(granted(&pool, &home, LIMIT).await);
}

#[tokio::test]
async fn what_counts_nothing_any_more_is_swept_known_addresses_last() {
    let database = TestDatabase::create().await;
    let pool = database.pool().await;
    let (one, two) = (somebody(), somebody());
    assert!(granted(&pool, &one, LIMIT).await);
    throttle::welcome(&mut pool.get().await.unwrap(), &two.known).await.unwrap();
    let day = Duration::from_secs(86_400);
    let sweep = async || throttle::sweep(&mut pool.get().await.unwrap(), day, day * 30, 100).await.unwrap();
    assert_eq!(sweep().await, 0);
    database.sql("update login_throttle set window_start = now() - interval '2 days'").await;
    assert_eq!(sweep().await, 1);
    database.sql("update login_throttle set window_start = now() - interval '31 days'").await;
    assert_eq!(sweep().await, 1);
}
