use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn now() -> DateTime<Utc> {
    at("2030-01-01T00:00:00Z")
}

fn recurrence(cron: &str, timezone: &str) -> Recurrence {
    Recurrence::parse(cron, timezone).unwrap()
}

/// The times from one moment on, before another.
fn between(cron: &str, timezone: &str, from: &str, until: &str) -> Vec<String> {
    let until = at(until);
    let times = recurrence(cron, timezone).upcoming(at(from), 100);
    times
        .into_iter()
        .take_while(|time| *time < until)
        .map(|time| time.format("%d %H:%M").to_string())
        .collect()
}

#[test]
fn the_next_time_lies_strictly_ahead() {
    let hourly = recurrence("0 * * * *", "UTC");
    assert_eq!(hourly.next_after(now()), Some(at("2030-01-01T01:00:00Z")));
    assert_eq!(hourly.next_after(at("2030-01-01T00:59:59.999Z")), Some(at("2030-01-01T01:00:00Z")));
    assert_eq!(hourly.last_before(now()), Some(at("2029-12-31T23:00:00Z")));
    assert_eq!(hourly.last_before(at("2030-01-01T00:00:00.001Z")), Some(now()));
    let each_second = recurrence("* * * * * *", "UTC");
    assert_eq!(each_second.next_after(now()), Some(at("2030-01-01T00:00:01Z")));
    assert_eq!(
        recurrence("@daily", "UTC").upcoming(now(), 2),
        [at("2030-01-02T00:00:00Z"), at("2030-01-03T00:00:00Z")]
    );
}

#[test]
fn a_time_is_that_of_its_zone_through_both_changes_of_the_clocks() {
    let morning = recurrence("30 2 * * *", "Europe/Berlin");
    // 2030-03-31: 2:30 does not exist. 2030-10-27: it comes twice.
    assert_eq!(
        morning.upcoming(at("2030-03-29T12:00:00Z"), 3),
        [at("2030-03-30T01:30:00Z"), at("2030-03-31T01:00:00Z"), at("2030-04-01T00:30:00Z")]
    );
    assert_eq!(
        morning.upcoming(at("2030-10-26T12:00:00Z"), 2),
        [at("2030-10-27T00:30:00Z"), at("2030-10-28T01:30:00Z")]
    );
}

#[test]
fn fixed_times_given_as_lists_run_once_on_the_days_that_clocks_change() {
    let berlin = |cron, day: &str| {
        between(cron, "Europe/Berlin", &format!("2027-{day}T00:00:00Z"), &format!("2027-{day}T23:00:00Z"))
    };
    assert_eq!(berlin("30 2,14 * * *", "03-28"), ["28 01:00", "28 12:30"]);
    assert_eq!(berlin("30 2,14 * * *", "10-31"), ["31 00:30", "31 13:30"]);
    assert_eq!(berlin("0,30 2 * * *", "03-28"), ["28 01:00"]);
    assert_eq!(berlin("10,30,50 2 * * *", "10-31"), ["31 00:10", "31 00:30", "31 00:50"]);
    assert_eq!(berlin("30 1-3 * * *", "03-28"), ["28 00:30", "28 01:00", "28 01:30"]);
    assert_eq!(berlin("30 1-3/2 * * *", "10-31"), ["31 02:30"]);

    let lord_howe = |cron, day: &str| {
        between(
            cron,
            "Australia/Lord_Howe",
            &format!("2027-{day}T12:00:00Z"),
            &format!("2027-{day}T18:00:00Z"),
        )
    };
    // 2:00 becomes 2:30 on 3 October, and 2:00 becomes 1:30 on 4 April.
    assert_eq!(lord_howe("15,45 2 * * *", "10-02"), ["02 15:30", "02 15:45"]);
    assert_eq!(lord_howe("15,45 1 * * *", "04-03"), ["03 14:15", "03 14:45"]);
}

#[test]
fn intervals_follow_the_clock_on_the_wall() {
    let berlin = |cron, day: &str| {
        between(cron, "Europe/Berlin", &format!("2027-{day}T00:00:00Z"), &format!("2027-{day}T02:30:00Z"))
    };
    assert_eq!(berlin("*/30 2 * * *", "03-28"), [""; 0]);
    assert_eq!(berlin("*/30 2 * * *", "10-31"), ["31 00:30", "31 01:00", "31 01:30"]);
    assert_eq!(berlin("30 * * * *", "03-28"), ["28 00:30", "28 01:30"]);
    assert_eq!(berlin("30 */2 * * *", "10-31"), ["31 00:30", "31 01:30"]);

    // A gap of two hours.
    let troll = between("0 * * * *", "Antarctica/Troll", "2027-03-27T23:30:00Z", "2027-03-28T03:30:00Z");
    assert_eq!(troll, ["28 00:00", "28 01:00", "28 02:00", "28 03:00"]);
    let fixed = between("0 1,2,3 * * *", "Antarctica/Troll", "2027-03-27T23:30:00Z", "2027-03-28T22:30:00Z");
    assert_eq!(fixed, ["28 01:00"]);
}

#[test]
fn both_day_fields_hold_when_one_begins_with_a_star_and_else_either() {
    let january = |cron| {
        let days = recurrence(cron, "UTC").upcoming(at("2029-12-31T12:00:00Z"), 40).into_iter();
        days.take_while(|day| *day < at("2030-02-01T00:00:00Z")).map(|day| day.day()).collect::<Vec<_>>()
    };
    // Mondays of January 2030: 7, 14, 21, 28.
    assert_eq!(january("0 0 */2 * 1"), [7, 21]);
    assert_eq!(january("0 0 1-31/2 * */7"), [13, 27]);
    assert_eq!(january("0 0 1,20 * mon"), [1, 7, 14, 20, 21, 28]);
    assert_eq!(january("0 0 * * 1"), [7, 14, 21, 28]);
    assert_eq!(january("0 0 13 * *"), [13]);
    assert_eq!(january("0 0 31 2 1"), [0; 0]);
}

#[test]
fn shorthands_are_those_of_crontab() {
    let first = |cron| recurrence(cron, "UTC").next_after(at("2030-01-02T00:30:00Z")).unwrap();
    assert_eq!(first("@hourly"), at("2030-01-02T01:00:00Z"));
    assert_eq!(
        (first("@daily"), first("@midnight")),
        (at("2030-01-03T00:00:00Z"), at("2030-01-03T00:00:00Z"))
    );
    assert_eq!(first("@weekly"), at("2030-01-06T00:00:00Z"));
    assert_eq!(first("@monthly"), at("2030-02-01T00:00:00Z"));
    assert_eq!(
        (first("@yearly"), first("@annually")),
        (at("2031-01-01T00:00:00Z"), at("2031-01-01T00:00:00Z"))
    );
    for other in ["@reboot", "@Daily", "@", "@daily *", "@every 5m", "@secondly"] {
        assert!(Recurrence::parse(other, "UTC").is_err(), "{other}");
    }
}

#[test]
fn nonsense_is_refused_and_both_fields_are_told() {
    let refused = [
        "",
        "* * * *",
        "60 * * * *",
        "* * * * * * *",
        "* * * * * * * *",
        "0 0 31 2 *",
        "hello",
        "0 0 * * mon\n",
        "é",
        ", * * * *",
        ", * * * * *",
        "* * 30 2 *",
        "0 0 * * JAN",
        "0 0 * MON *",
        "1MON * * * *",
        "0 0 1 JAN1 *",
        "*/90 * * * *",
        "0, * * * *",
        "0,,5 * * * *",
        "0 0 15W5 * *",
        "0 0 L * *",
        "0 0 15 * L",
        "0 0 * * 1#2",
        "0 0 ? * 1",
        "0 0 1 1 * 2030",
        "0 0 0 1 1 * 2030",
        "0\u{a0}0 * * *",
        "0 0 * * *\0",
    ];
    for cron in refused {
        let wrong = Recurrence::parse(cron, "UTC").unwrap_err();
        assert_eq!(wrong[0].code, "invalid_cron", "{cron:?}");
    }
    assert!(Recurrence::parse(&format!("{} * * * *", "1,".repeat(99) + "1"), "UTC").is_err());
    let wrong = Recurrence::parse("x", "Mars/Olympus").unwrap_err();
    assert_eq!(wrong.iter().map(|v| v.code).collect::<Vec<_>>(), ["invalid_cron", "invalid_timezone"]);
    assert!(Recurrence::parse("* * * * *", "").is_err());
    assert_eq!(recurrence(" \t0 3\t* * * ", "UTC").as_str(), "0 3\t* * *");
}

#[test]
fn rare_days_are_found_and_no_expression_costs_more_than_10_ms() {
    let leap_monday = recurrence("0 0 29 2 */7", "Europe/Berlin");
    assert_eq!(leap_monday.next_after(at("2032-03-01T00:00:00Z")), Some(at("2060-02-28T23:00:00Z")));
    assert_eq!(leap_monday.next_after(at("2088-03-01T00:00:00Z")), Some(at("2128-02-28T23:00:00Z")));

    let hostile = [
        "0 0 29 2 */7",
        "* * * 30 2 *",
        "* * * 30,31 2 *",
        ", * * * * *",
        "0-59 0-59 2 * * *",
        "* 2 */30 3 */7",
    ];
    for cron in hostile {
        // The least of several, since other processes share the machine.
        let took = (0..20).map(|_| {
            let start = Instant::now();
            if let Ok(recurrence) = Recurrence::parse(cron, "Australia/Lord_Howe") {
                recurrence.upcoming(now(), 5);
                recurrence.last_before(now());
            }
            start.elapsed()
        });
        let least = took.min().unwrap();
        assert!(least < Duration::from_millis(10), "{cron}: {least:?}");
    }
}

#[test]
fn the_ends_of_the_calendar_have_no_next_time() {
    let each_second = recurrence("* * * * * *", "Pacific/Kiritimati");
    for end in ["9999-12-31T23:59:59Z", "+12000-01-01T00:00:00Z", "-0044-03-15T00:00:00Z"] {
        assert_eq!(each_second.next_after(at(end)), None, "{end}");
    }
    assert_eq!(each_second.next_after(DateTime::<Utc>::MAX_UTC), None);
    assert_eq!(each_second.last_before(DateTime::<Utc>::MIN_UTC), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn whatever_is_taken_recurs(
        text in "([0-9*/,-]{1,4} ){4,5}[0-9*LW#/A-Z-]{1,5}|\\PC{0,30}",
        zone in proptest::sample::select(&["UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"][..]),
    ) {
        if let Ok(recurrence) = Recurrence::parse(&text, zone) {
            let times = recurrence.upcoming(now(), 3);
            prop_assert!(times.len() == 3 && times.is_sorted());
        }
    }
}
