//! How hard a password is to guess for someone who knows what people do: take a common word, a run of keys or
//! their own name, and add a year, a few digits or the same again.
//!
//! The password is cut into the cheapest sequence of such pieces. What is left of it are single characters, which is why
//! a password of random characters or of three common words always passes. The figures follow zxcvbn (Wheeler, USENIX
//! Security 2016) in spirit, rounded so that a person can check them.

use super::common::STEMS;

/// Tenths of a bit.
pub(super) type Decibits = u32;

/// Below this (27 bits, some 10⁸ guesses: zxcvbn's bar for "safely unguessable" online) a password is refused.
pub(super) const ENOUGH: Decibits = 270;

/// Longer passwords are not cut up: nobody's list of guesses gets there by repeating and appending.
pub(super) const LONGEST_JUDGED: usize = 32;

const SHORTEST_STEM: usize = 4;
const SHORTEST_RUN: usize = 3;

const STEM: Decibits = 120;
const CONTEXT: Decibits = 20;
const RUN: Decibits = 50;
const COPY: Decibits = 30;
const YEAR: Decibits = 60;

/// Rows of the usual keyboards; the digits wrap round like those of a counter.
const ROWS: [&str; 6] = [
    "12345678901234567890",
    "qwertyuiop[]\\",
    "asdfghjkl;'",
    "zxcvbnm,./",
    "qwertzuiop",
    "azertyuiopqsdfghjklmwxcvbn",
];

/// The least cost of `text` (lowercased), where each of `context` is a word that the guesser knows.
pub(super) fn cost(text: &str, context: &[String]) -> Decibits {
    let chars: Vec<char> = text.chars().collect();
    let context: Vec<Vec<char>> = context.iter().map(|word| word.chars().collect()).collect();
    // best[n] = the least cost of the first n characters.
    let mut best = vec![0];
    for end in 1..=chars.len() {
        let cheapest = (0..end)
            .filter_map(|start| Some(best.get(start)? + piece_cost(chars.get(..end)?, start, &context)?))
            .min();
        best.push(cheapest.unwrap_or_default());
    }
    best.last().copied().unwrap_or_default()
}

/// What the end of `text` from `start` on costs as one piece; `None` if it is nothing that people are known to use.
fn piece_cost(text: &[char], start: usize, context: &[Vec<char>]) -> Option<Decibits> {
    let piece = text.get(start..)?;
    if let [single] = piece {
        return Some(char_cost(*single));
    }
    if context.iter().any(|word| word == piece) {
        return Some(CONTEXT);
    }
    if piece.len() < SHORTEST_RUN {
        return None;
    }
    if is_copy(text, start, piece) {
        return Some(COPY);
    }
    if is_run(piece) {
        return Some(RUN);
    }
    if is_year(piece) {
        return Some(YEAR);
    }
    let stem = piece.len() >= SHORTEST_STEM && STEMS.contains(&piece.iter().collect::<String>());
    stem.then_some(STEM)
}

fn char_cost(c: char) -> Decibits {
    match c {
        '0'..='9' => 33,
        'a'..='z' => 47,
        _ if c.is_ascii() => 40,
        _ => 70,
    }
}

/// The piece repeats earlier text, perhaps itself: `abab` is `ab` and a copy.
fn is_copy(text: &[char], start: usize, piece: &[char]) -> bool {
    text.windows(piece.len()).take(start).any(|window| window == piece)
}

/// Each character follows the one before it by the same rule: repeated, up or down the alphabet, along a row of keys.
fn is_run(piece: &[char]) -> bool {
    let steps = |rule: fn(char, char) -> bool| {
        piece.windows(2).all(|pair| matches!(pair, [from, to] if rule(*from, *to)))
    };
    let text: String = piece.iter().collect();
    let backwards: String = piece.iter().rev().collect();
    steps(|from, to| from == to)
        || steps(|from, to| from.is_ascii_alphanumeric() && to as u32 == from as u32 + 1)
        || steps(|from, to| to.is_ascii_alphanumeric() && from as u32 == to as u32 + 1)
        || ROWS.iter().any(|row| row.contains(&text) || row.contains(&backwards))
}

fn is_year(piece: &[char]) -> bool {
    matches!(piece, ['1', '9', a, b] | ['2', '0', a, b] if a.is_ascii_digit() && b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weak(text: &str, context: &[&str]) -> bool {
        let context: Vec<String> = context.iter().map(|word| (*word).to_owned()).collect();
        cost(text, &context) < ENOUGH
    }

    #[test]
    fn pieces_cost_what_the_table_says() {
        assert_eq!(cost("", &[]), 0);
        assert_eq!(cost("a7#é", &[]), 47 + 33 + 40 + 70);
        assert_eq!(cost("monkey;876", &[]), STEM + 40 + RUN);
        assert_eq!(cost("zzzzzzzz", &[]), RUN);
        assert_eq!(cost("x9k4x9k4x9k4", &[]), 47 + 33 + 47 + 33 + COPY);
        assert_eq!(cost("alice-2024", &["alice".to_owned()]), CONTEXT + 40 + YEAR);
    }

    #[test]
    fn runs_follow_the_alphabet_the_counter_or_the_keyboard() {
        for text in
            ["aaa", "abcdefghijklmnop", "zyx", "890123", "321", "qwertyuiop", "lkjhgf", "qwertz", "azerty"]
        {
            assert!(is_run(&text.chars().collect::<Vec<_>>()), "{text}");
        }
        for text in ["abd", "acegik", "qet", "zab"] {
            assert!(!is_run(&text.chars().collect::<Vec<_>>()), "{text}");
        }
    }

    #[test]
    fn a_word_with_a_little_something_is_weak() {
        for text in [
            "password12345!",
            "welcome2024!!",
            "letmein12345",
            "changeme-2025",
            "dragondragon",
            "hunter2hunter2",
            "p@ssw0rd2024!",
            "qwertyasdfgh",
            "abcdefgh1234",
            "aaabbbcccddd",
            "elephant2847",
            "12341234123412341234",
        ] {
            assert!(weak(text, &[]), "{text}: {}", cost(text, &[]));
        }
    }

    #[test]
    fn the_own_name_counts_as_known() {
        for text in ["margrethe.v-1985", "margrethe.v2024!", "margrethe.vmargrethe.v", "password-margrethe.v"]
        {
            assert!(weak(text, &["margrethe.v"]), "{text}");
        }
        assert!(!weak("margrethe.v rides a bicycle", &["margrethe.v"]));
    }

    #[test]
    fn three_words_or_random_characters_are_enough() {
        for text in [
            "correct horse battery stap",
            "another long passphrase 42",
            "anoth long passphrase 42",
            "correct hors",
            "another long",
            "purplemonkeydragon",
            "kt9#mq2$vl7x",
            "839201746352",
            "b7f1c04e9a2d",
        ] {
            assert!(!weak(text, &[]), "{text}: {}", cost(text, &[]));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn random_passwords_are_never_weak(text in "[a-z0-9!#$%&*+-]{14,24}") {
            prop_assert!(!weak(&text, &[]), "{}", cost(&text, &[]));
        }

        #[test]
        fn knowing_more_never_makes_it_harder(text in "[a-z0-9]{0,24}", word in "[a-z]{3,6}") {
            let known = [word];
            prop_assert!(cost(&text, &known) <= cost(&text, &[]));
        }

        #[test]
        fn any_text_has_a_cost(text in "\\PC{0,32}") {
            prop_assert!(cost(&text, &[]) <= 70 * 32);
        }
    }
}
