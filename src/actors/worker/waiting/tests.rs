use super::*;

const SLOTS: usize = 4;

fn claims(count: usize, last_chance: bool) -> Vec<Claim> {
    let claim = || Claim { last_chance, ..Claim::example() };
    std::iter::repeat_with(claim).take(count).collect()
}

fn take(waiting: &mut Waiting, wanted: usize, free: usize, claims: Vec<Claim>) {
    let places = waiting.reserve(wanted, free);
    waiting.push(claims, places, Lane::Line, Instant::now());
}

fn begin(waiting: &mut Waiting) -> usize {
    std::iter::from_fn(|| waiting.pop()).count()
}

fn noted(waiting: &mut Waiting, to: i64) {
    (waiting.noting, waiting.begun_to) = (false, to);
}

#[test]
fn a_claim_begins_what_there_are_slots_for() {
    let mut waiting = Waiting::default();
    take(&mut waiting, 10, SLOTS, claims(2, false));
    assert_eq!(begin(&mut waiting), 2);
    // Places of tasks that did not come are not used again.
    assert_eq!(waiting.reserve(1, 1), Places { first: 11, begun_to: 11 });
    take(&mut waiting, 10, 2, claims(10, false));
    assert_eq!((begin(&mut waiting), waiting.len()), (2, 8));
    // Others come first.
    assert_eq!(waiting.reserve(5, 3), Places { first: 22, begun_to: 13 });
}

#[test]
fn a_note_is_ahead_of_what_begins_and_goes_farther_when_it_came_too_late() {
    let mut waiting = Waiting::default();
    take(&mut waiting, 100, 0, claims(100, false));
    assert_eq!(waiting.due_note(SLOTS, 0), Some(4));
    assert_eq!((begin(&mut waiting), waiting.due_note(SLOTS, 0)), (0, None), "one at a time");
    noted(&mut waiting, 4);
    assert_eq!(waiting.due_note(SLOTS, 0), None, "enough for now");
    waiting.pop();
    waiting.pop();
    waiting.pop();
    assert_eq!(waiting.due_note(SLOTS, 0), Some(7));
    noted(&mut waiting, 7);
    assert_eq!(begin(&mut waiting), 4);
    assert_eq!(waiting.due_note(SLOTS, 1), Some(15), "a slot had to wait");
    noted(&mut waiting, 15);
    begin(&mut waiting);
    assert_eq!(waiting.due_note(SLOTS, 1), Some(15 + 16), "again");
    assert_eq!(waiting.due_note(SLOTS, 1), None, "a slot waits for the note that is on its way");
    noted(&mut waiting, 31);
    begin(&mut waiting);
    assert_eq!(waiting.due_note(4 * SLOTS, 0), Some(31 + 32));
    noted(&mut waiting, 63);
    assert_eq!((begin(&mut waiting), waiting.len()), (32, 37));
    assert_eq!(waiting.due_note(4 * SLOTS, 0), Some(63 + 31), "less far when it came in time");
    noted(&mut waiting, 94);
    begin(&mut waiting);
    take(&mut waiting, 100, 0, claims(100, false));
    assert_eq!(waiting.due_note(SLOTS, 1).map(|to| to - 94), Some(16), "nor much farther than it has to");
}

#[test]
fn what_has_no_other_chance_is_noted_when_a_slot_is_free_for_it() {
    let mut waiting = Waiting::default();
    take(&mut waiting, 3, 0, claims(2, false));
    take(&mut waiting, 10, 0, claims(10, true));
    assert_eq!(waiting.due_note(SLOTS, 0), Some(2));
    noted(&mut waiting, 2);
    assert_eq!((begin(&mut waiting), waiting.due_note(SLOTS, 0)), (2, None));
    assert_eq!(waiting.due_note(SLOTS, 3), Some(6));
    noted(&mut waiting, 6);
    assert_eq!((begin(&mut waiting), waiting.window), (3, SLOTS));
}

#[test]
fn nothing_is_noted_when_nothing_waits() {
    let mut waiting = Waiting::default();
    assert_eq!(waiting.due_note(SLOTS, SLOTS), None);
    take(&mut waiting, 10, SLOTS, claims(SLOTS, false));
    begin(&mut waiting);
    assert_eq!(waiting.due_note(SLOTS, 0), None);
}
