//! A statement that the tests hold open shows who joins which.

use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::{Semaphore, mpsc};

use super::*;

/// Answers twice the key; refuses 13, has no row for 7; waits for a permit before it answers.
struct Doubling {
    sent: mpsc::UnboundedSender<Vec<u32>>,
    go: Arc<Semaphore>,
    fault: Option<fn() -> Error>,
}

impl Batch for Doubling {
    type Key = u32;
    type Item = ();
    type Answer = u32;

    async fn run(&self, items: Vec<(u32, ())>) -> Result<HashMap<u32, u32>> {
        let keys: Vec<u32> = items.iter().map(|(key, ())| *key).collect();
        self.sent.send(keys.clone()).unwrap();
        self.go.acquire().await.unwrap().forget();
        match self.fault {
            Some(fault) if keys.contains(&13) => Err(fault()),
            _ if keys.contains(&666) => panic!("a defect"),
            _ => Ok(keys.into_iter().filter(|key| *key != 7).map(|key| (key, key * 2)).collect()),
        }
    }

    fn missing(&self) -> Result<u32> {
        Err(Error::NotFound)
    }
}

struct Bench {
    coalesce: Coalesce<Doubling>,
    sent: mpsc::UnboundedReceiver<Vec<u32>>,
    go: Arc<Semaphore>,
}

fn bench(limits: Limits, fault: Option<fn() -> Error>) -> Bench {
    let (sent_to, sent) = mpsc::unbounded_channel();
    let go = Arc::new(Semaphore::new(0));
    let batch = Doubling { sent: sent_to, go: Arc::clone(&go), fault };
    Bench { coalesce: Coalesce::new(batch, limits), sent, go }
}

const ONE: Limits = Limits { statements: 1, items: 100, waiting: 100 };

type Waiting = oneshot::Receiver<Result<u32>>;

impl Bench {
    fn submit(&self, key: u32) -> Waiting {
        let (reply_to, answer) = oneshot::channel();
        self.coalesce.submit(key, (), reply_to);
        answer
    }

    async fn next_sent(&mut self) -> Vec<u32> {
        tokio::time::timeout(Duration::from_secs(5), self.sent.recv()).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn what_arrives_while_a_statement_is_under_way_becomes_the_next() {
    let mut bench = bench(ONE, None);
    let first = bench.submit(1);
    assert_eq!(bench.next_sent().await, [1]);
    let later: Vec<_> = (2..5).map(|key| bench.submit(key)).collect();
    bench.go.add_permits(2);
    assert_eq!(first.await.unwrap().unwrap(), 2);
    assert_eq!(bench.next_sent().await, [2, 3, 4]);
    for (key, answer) in (2..5).zip(later) {
        assert_eq!(answer.await.unwrap().unwrap(), key * 2);
    }
    assert_eq!(bench.coalesce.tally(), Tally { statements: 2, items: 4, waiting: 0 });
}

#[tokio::test]
async fn nobody_joins_a_statement_that_was_sent() {
    let mut bench = bench(ONE, None);
    let before = bench.submit(1);
    assert_eq!(bench.next_sent().await, [1]);
    let after = bench.submit(1);
    bench.go.add_permits(1);
    assert_eq!(before.await.unwrap().unwrap(), 2);
    assert_eq!(bench.next_sent().await, [1], "the same key is asked again");
    bench.go.add_permits(1);
    assert_eq!(after.await.unwrap().unwrap(), 2);
}

#[tokio::test]
async fn the_same_key_has_one_place_in_a_statement_not_yet_sent() {
    let mut bench = bench(ONE, None);
    let _first = bench.submit(1);
    assert_eq!(bench.next_sent().await, [1]);
    let (a, b) = (bench.submit(2), bench.submit(2));
    bench.go.add_permits(2);
    assert_eq!(bench.next_sent().await, [2]);
    assert_eq!((a.await.unwrap().unwrap(), b.await.unwrap().unwrap()), (4, 4));
}

#[tokio::test]
async fn a_key_without_a_row_is_told_so_and_the_others_are_served() {
    let mut bench = bench(ONE, None);
    let _first = bench.submit(1);
    bench.next_sent().await;
    let (missing, found) = (bench.submit(7), bench.submit(8));
    bench.go.add_permits(2);
    assert!(matches!(missing.await.unwrap(), Err(Error::NotFound)));
    assert_eq!(found.await.unwrap().unwrap(), 16);
}

#[tokio::test]
async fn one_bad_item_does_not_fail_its_neighbours() {
    let bench = bench(ONE, Some(|| Error::internal("refused")));
    bench.go.add_permits(100);
    let waiting: Vec<_> = (10..18).map(|key| (key, bench.submit(key))).collect();
    for (key, answer) in waiting {
        let answer = answer.await.unwrap();
        if key == 13 {
            assert!(matches!(answer, Err(Error::Internal(_))));
        } else {
            assert_eq!(answer.unwrap(), key * 2);
        }
    }
}

#[tokio::test]
async fn a_statement_whose_fate_is_unknown_is_not_tried_again() {
    let mut bench = bench(ONE, Some(|| Error::unavailable("database", "cut")));
    let _first = bench.submit(1);
    bench.next_sent().await;
    let (a, b) = (bench.submit(12), bench.submit(13));
    bench.go.add_permits(2);
    assert!(matches!(a.await.unwrap(), Err(Error::Unavailable { .. })));
    assert!(matches!(b.await.unwrap(), Err(Error::Unavailable { .. })));
    assert_eq!(bench.coalesce.tally().statements, 2);
    bench.go.add_permits(1);
    assert_eq!(bench.submit(20).await.unwrap().unwrap(), 40, "the next statement is not touched by it");
}

#[tokio::test]
async fn a_panic_fails_its_own_callers_and_the_store_goes_on() {
    let bench = bench(ONE, None);
    bench.go.add_permits(2);
    assert!(matches!(bench.submit(666).await.unwrap(), Err(Error::Internal(_))));
    assert_eq!(bench.submit(1).await.unwrap().unwrap(), 2);
}

#[tokio::test]
async fn who_went_away_takes_no_part() {
    let mut bench = bench(ONE, None);
    let _first = bench.submit(1);
    bench.next_sent().await;
    drop(bench.submit(2));
    let stays = bench.submit(3);
    bench.go.add_permits(2);
    assert_eq!(bench.next_sent().await, [3]);
    assert_eq!(stays.await.unwrap().unwrap(), 6);
}

#[tokio::test]
async fn past_its_bound_the_queue_refuses_at_once() {
    let mut bench = bench(Limits { statements: 1, items: 10, waiting: 2 }, None);
    let _under_way = bench.submit(1);
    bench.next_sent().await;
    let (_second, _third) = (bench.submit(2), bench.submit(3));
    assert!(matches!(bench.submit(4).await.unwrap(), Err(Error::Overloaded)));
    let _folded = bench.submit(2);
    assert_eq!(bench.coalesce.tally().waiting, 2);
}

#[tokio::test]
async fn no_more_statements_are_under_way_than_allowed() {
    let mut bench = bench(Limits { statements: 2, items: 1, waiting: 100 }, None);
    let waiting: Vec<_> = (1..=6).map(|key| bench.submit(key)).collect();
    bench.next_sent().await;
    bench.next_sent().await;
    tokio::task::yield_now().await;
    assert!(bench.sent.try_recv().is_err(), "a third was sent");
    bench.go.add_permits(6);
    for answer in waiting {
        assert!(answer.await.unwrap().is_ok());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the order, the folding and the bounds: every caller gets the answer of its own key.
    #[test]
    fn every_caller_gets_its_own_answer(
        keys in prop::collection::vec(0u32..40, 1..120),
        statements in 1usize..4,
        items in 1usize..9,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let bench = bench(Limits { statements, items, waiting: 200 }, Some(|| Error::internal("refused")));
            bench.go.add_permits(10_000);
            let waiting: Vec<_> = keys.iter().map(|key| (*key, bench.submit(*key))).collect();
            for (key, answer) in waiting {
                match (key, answer.await.unwrap()) {
                    (7, Err(Error::NotFound)) | (13, Err(Error::Internal(_))) => {}
                    (key, Ok(answer)) => assert_eq!(answer, key * 2),
                    (key, Err(error)) => panic!("{key}: {error}"),
                }
            }
        });
    }
}
