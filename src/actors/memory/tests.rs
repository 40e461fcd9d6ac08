//! Memory against a model that knows when each credential was revoked.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::domain::{ApiKeyId, Email, Permissions, Role, SessionId, User, UserId, Username};

const EVERY: Duration = Duration::from_secs(60);

fn at(millis: u64) -> Boottime {
    Boottime::default() + Duration::from_millis(millis)
}

fn hash(n: u8) -> TokenHash {
    TokenHash([n; 32])
}

fn user(id: UserId) -> User {
    User {
        id,
        username: Username::parse("alice").unwrap(),
        email: Email::parse("alice@example.com").unwrap(),
        role: Role::User,
        is_active: true,
        email_verified: true,
        created_at: chrono::DateTime::UNIX_EPOCH,
        updated_at: chrono::DateTime::UNIX_EPOCH,
        last_login_at: None,
    }
}

fn uuid(n: u8) -> uuid::Uuid {
    uuid::Uuid::from_u128(u128::from(n))
}

/// Three credentials a user; every third is a key.
fn caller(n: u8) -> Arc<Caller> {
    let expires_at = chrono::DateTime::UNIX_EPOCH;
    let credential = if n % 3 == 2 {
        let (id, permissions) = (ApiKeyId(uuid(n)), Permissions::default());
        Credential::ApiKey { id, expires_at: None, permissions }
    } else {
        Credential::Session { id: SessionId(uuid(n)), expires_at }
    };
    Arc::new(Caller { user: user(UserId(uuid(100 + n / 3))), credential })
}

fn fresh(n: u8, ends_at: Boottime) -> Fresh {
    Fresh { hash: hash(n), caller: caller(n), ends_at, touch_at: at(u64::MAX) }
}

fn recalls(memory: &Memory, n: u8, now: u64) -> bool {
    memory.recall_at(&hash(n), EVERY, at(now)).is_some()
}

fn filled(capacity: usize, count: u8) -> Memory {
    let memory = Memory::with_capacity(capacity);
    memory.renew(at(1_000));
    memory.keep_at(memory.begin(), (0..count).map(|n| fresh(n, at(1_000_000))), at(0));
    memory
}

#[test]
fn it_answers_only_before_its_lease_ends() {
    let memory = filled(10, 1);
    assert!(recalls(&memory, 0, 999));
    assert!(!recalls(&memory, 0, 1_000));
    memory.renew(at(2_000));
    assert!(recalls(&memory, 0, 1_999), "renewed");
    assert!(!recalls(&Memory::new(), 0, 0), "without a lease");
}

#[test]
fn an_entry_ends_when_the_database_said_and_after_a_minute_at_most() {
    let memory = Memory::with_capacity(10);
    memory.renew(at(1_000_000));
    memory.keep_at(memory.begin(), [fresh(0, at(500)), fresh(1, at(900_000))], at(0));
    assert!(recalls(&memory, 0, 499) && !recalls(&memory, 0, 500));
    assert!(recalls(&memory, 1, 59_999) && !recalls(&memory, 1, 60_000));
    assert!(memory.is_empty(), "what ended is let go");
}

#[test]
fn a_look_up_that_began_before_the_revocation_brings_nothing_back() {
    for what in [Forget::Session(SessionId(uuid(0))), Forget::User(UserId(uuid(100))), Forget::Everything] {
        let memory = filled(10, 1);
        let begun = memory.begin();
        memory.forget(what);
        assert!(!recalls(&memory, 0, 1));
        memory.keep_at(begun, [fresh(0, at(1_000)), fresh(3, at(1_000))], at(1));
        assert!(!recalls(&memory, 0, 2), "{what}");
        assert_eq!(recalls(&memory, 3, 2), what != Forget::Everything, "its neighbour is somebody else");
        memory.keep_at(memory.begin(), [fresh(0, at(1_000))], at(2));
        assert!(recalls(&memory, 0, 3), "one that began later is believed");
    }
}

#[test]
fn a_look_up_during_which_too_much_was_forgotten_is_not_kept() {
    let memory = filled(10, 0);
    let begun = memory.begin();
    for _ in 0..RECENT {
        memory.forget(Forget::Session(SessionId::new()));
    }
    memory.keep_at(begun, [fresh(0, at(1_000))], at(0));
    assert!(recalls(&memory, 0, 1), "as much as is known by name");
    memory.forget(Forget::Session(SessionId::new()));
    memory.keep_at(begun, [fresh(1, at(1_000))], at(0));
    assert!(!recalls(&memory, 1, 1));
}

#[test]
fn it_is_bounded_and_lets_the_oldest_go() {
    let memory = filled(3, 5);
    assert_eq!(memory.len(), 3);
    let kept: Vec<bool> = (0..5).map(|n| recalls(&memory, n, 1)).collect();
    assert_eq!(kept, [false, false, true, true, true]);
    for _ in 0..100 {
        memory.keep_at(memory.begin(), [fresh(4, at(1_000))], at(1));
    }
    let inner = memory.lock().unwrap();
    assert!(inner.order.len() <= 3 && inner.of.len() <= 6, "{inner:?}");
}

#[test]
fn one_caller_is_told_when_activity_is_due() {
    let memory = filled(10, 0);
    let due = Fresh { touch_at: at(100), ..fresh(0, at(1_000)) };
    memory.keep_at(memory.begin(), [due], at(0));
    let told = |now| memory.recall_at(&hash(0), EVERY, at(now)).unwrap().touch;
    assert_eq!([told(99), told(100), told(101), told(999)], [false, true, false, false]);
}

#[test]
fn without_memory_nothing_is_kept() {
    let memory = Memory::none();
    memory.renew(at(1_000));
    memory.keep_at(memory.begin(), [fresh(0, at(1_000))], at(0));
    memory.forget(Forget::Everything);
    assert!(!recalls(&memory, 0, 0) && !memory.is_on());
}

/// What may happen, in some order.
#[derive(Debug, Clone)]
enum Step {
    /// A look-up is sent, and looks at the database at once.
    Begin(u8),
    /// The oldest look-up under way comes back.
    Finish,
    /// A revocation is committed.
    Commit(u8),
    /// The oldest revocation that was not yet heard of is heard.
    Hear,
    /// A heartbeat is sent.
    Beat,
    /// Time goes by.
    Wait(u64),
    /// The connection is lost, with all it would have brought, and there is another.
    Reconnect,
    /// Somebody asks.
    Ask(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u8..9).prop_map(Step::Begin),
        4 => Just(Step::Finish),
        2 => (0u8..13).prop_map(Step::Commit),
        5 => Just(Step::Hear),
        4 => Just(Step::Beat),
        2 => (1u64..120).prop_map(Step::Wait),
        1 => Just(Step::Reconnect),
        6 => (0u8..9).prop_map(Step::Ask),
    ];
    prop::collection::vec(step, 1..200)
}

/// What is on its way to the process, in the order in which it was committed.
enum Message {
    Forget(Forget),
    Pulse(u64),
}

/// Which credentials a revocation takes away, and what is told of it: 0..9 one, 9..12 all of a user, 12 all.
fn revocation(n: u8) -> (Vec<u8>, Forget) {
    match n {
        0..9 if n % 3 == 2 => (vec![n], Forget::Key(ApiKeyId(uuid(n)))),
        0..9 => (vec![n], Forget::Session(SessionId(uuid(n)))),
        9..12 => (((n - 9) * 3..(n - 8) * 3).collect(), Forget::User(UserId(uuid(91 + n)))),
        _ => ((0..9).collect(), Forget::Everything),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// However look-ups, revocations, their messages and heartbeats are interleaved: what was revoked is answered
    /// neither once it was heard of, nor later than 250 ms after it was committed.
    #[test]
    fn it_never_answers_what_was_revoked_longer_ago_than_a_lease(steps in steps()) {
        let memory = Memory::with_capacity(5);
        let (mut now, mut on_its_way) = (0u64, VecDeque::new());
        let mut under_way: VecDeque<(Begun, u8)> = VecDeque::new();
        let mut revoked: HashMap<u8, u64> = HashMap::new();
        for step in steps {
            match step {
                // The database still has it, or not: that is settled when the statement looks.
                Step::Begin(n) if !revoked.contains_key(&n) => under_way.push_back((memory.begin(), n)),
                Step::Begin(_) => {}
                Step::Finish => if let Some((begun, n)) = under_way.pop_front() {
                    memory.keep_at(begun, [fresh(n, at(u64::MAX))], at(now));
                },
                Step::Commit(n) => {
                    let (gone, forget) = revocation(n);
                    gone.into_iter().for_each(|n| { revoked.entry(n).or_insert(now); });
                    on_its_way.push_back(Message::Forget(forget));
                }
                Step::Beat => on_its_way.push_back(Message::Pulse(now)),
                Step::Hear => match on_its_way.pop_front() {
                    Some(Message::Forget(forget)) => memory.forget(forget),
                    Some(Message::Pulse(sent)) => memory.renew(at(sent + 250)),
                    None => {}
                },
                Step::Wait(millis) => now += millis,
                Step::Reconnect => {
                    on_its_way.clear();
                    memory.forget(Forget::Everything);
                }
                Step::Ask(n) => {
                    let revoked_for = revoked.get(&n).map_or(0, |then| now - then);
                    prop_assert!(!(recalls(&memory, n, now) && revoked_for >= 250), "{n} at {now}");
                }
            }
        }
    }
}
