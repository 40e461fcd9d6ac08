use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::domain::attempt::WorkerId;

fn running(owner: Option<UserId>, lane: Lane) -> Running {
    Running {
        worker_id: WorkerId(1),
        owner,
        lane,
        since: Instant::now(),
        timeout: Duration::from_secs(1),
        limited: false,
        stop: CancellationToken::new(),
        reason: None,
        progress: watch::channel(None).1,
    }
}

#[test]
fn what_an_owner_holds_beyond_its_share_does_not_count() {
    let mut shares = Shares::new(Instant::now());
    let [alice, bob] = [UserId::new(), UserId::new()];
    for _ in 0..16 {
        shares.began(&running(Some(alice), Lane::Line));
    }
    assert_eq!((shares.of(alice), shares.of(bob), shares.counted(8)), (16, 0, 8));
    shares.began(&running(Some(bob), Lane::Share));
    shares.began(&running(None, Lane::Service));
    assert_eq!((shares.of(bob), shares.counted(8), shares.service), (1, 10, 1));
    for _ in 0..20 {
        shares.ended(&running(Some(alice), Lane::Line), Instant::now());
    }
    shares.ended(&running(None, Lane::Service), Instant::now());
    assert_eq!((shares.of(alice), shares.counted(8), shares.service), (0, 1, 0));
}

#[test]
fn a_share_is_half_rounded_up_and_at_least_one() {
    assert_eq!([1, 2, 3, 16, 17].map(share), [1, 1, 2, 8, 9]);
    assert_eq!([1, 8, 16, 100].map(reserved), [1, 1, 2, 12]);
}

#[test]
fn nothing_moves_when_nothing_began_or_ended_for_a_while() {
    let now = Instant::now();
    let mut shares = Shares::new(now);
    assert!(!shares.is_stalled(now) && shares.is_stalled(now + STALLED));
    shares.ended(&running(None, Lane::Line), now + STALLED);
    assert!(!shares.is_stalled(now + STALLED));
}
