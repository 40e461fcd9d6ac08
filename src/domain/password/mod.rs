//! Passwords: which ones are taken, in which form they are hashed, and the hash itself.
//!
//! A password is brought to Unicode NFC where it enters, for setting and for checking alike (NIST SP 800-63B 5.1.1.2), because
//! keyboards differ in how they compose; nothing else of it is changed: no trimming, no truncation, no letter case. There
//! are no rules of composition and no forced changes (OWASP ASVS 6.2.5, 6.2.10).

mod common;
mod guess;

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use unicode_normalization::UnicodeNormalization as _;

use super::{
    Violation,
    user::{Email, Username},
};

/// Longest password, in code points.
pub const MAX_CHARS: usize = 256;
/// Longest password, in bytes of UTF-8. Room for 256 code points of any kind.
pub const MAX_BYTES: usize = 1024;
/// The name of the service: a word that every guesser knows.
const SERVICE: &str = "starter";
/// Parts of names shorter than this say nothing.
const SHORTEST_NAME: usize = 3;

/// A password that somebody presents as his: any text.
#[derive(Clone)]
pub struct PresentedPassword(SecretString);

impl PresentedPassword {
    /// Never fails: what cannot be anybody's password is hashed like any other, so that it takes the same time.
    pub fn new(text: &SecretString) -> Self {
        Self(normalised(text.expose_secret()))
    }

    /// For hashing.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// A password that the policy takes.
#[derive(Clone)]
pub struct NewPassword(SecretString);

impl NewPassword {
    /// For hashing.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// It is the one that was presented in the same request.
    pub fn is(&self, presented: &PresentedPassword) -> bool {
        self.expose() == presented.expose()
    }
}

/// A stored hash, as a PHC string.
#[derive(Clone)]
pub struct PasswordHash(SecretString);

impl PasswordHash {
    /// From where it was stored, or from the hashers. Not checked: what cannot be read matches nothing.
    pub fn new(phc: impl Into<String>) -> Self {
        Self(phc.into().into())
    }

    /// For the database, and for comparing.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

macro_rules! redact {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    )*};
}
redact!(PresentedPassword, NewPassword, PasswordHash);

fn normalised(text: &str) -> SecretString {
    text.nfc().collect::<String>().into()
}

/// What the service asks of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordPolicy {
    /// In code points.
    min_chars: usize,
}

impl PasswordPolicy {
    /// Shortest minimum that may be configured (OWASP ASVS 6.2.1).
    pub const LEAST_MIN_CHARS: usize = 8;

    /// A policy with this minimum of code points, but at least [`Self::LEAST_MIN_CHARS`].
    pub fn new(min_chars: usize) -> Self {
        Self { min_chars: min_chars.clamp(Self::LEAST_MIN_CHARS, MAX_CHARS) }
    }

    /// Judges a password that somebody with these names wants to set.
    ///
    /// Refused are those that are too short or too long, those on the list of common passwords in any letter case, and those
    /// of up to 32 characters that are little more than common words, keyboard runs, repetitions or the
    /// names: the user's, his e-mail address and its parts, the service's.
    ///
    /// # Errors
    /// At `field`, a JSON pointer: `password_too_short`, `password_too_long`, `password_too_common`, `password_too_personal`.
    pub fn check(
        &self,
        field: &'static str,
        password: &SecretString,
        username: &Username,
        email: &Email,
    ) -> Result<NewPassword, Violation> {
        let too_long = || {
            let message = format!("at most {MAX_CHARS} characters and {MAX_BYTES} bytes");
            Violation::new(field, "password_too_long", message)
        };
        // Before any Unicode work, so that its cost is bounded.
        if password.expose_secret().len() > MAX_BYTES {
            return Err(too_long());
        }
        let normal = normalised(password.expose_secret());
        let text = normal.expose_secret();
        let chars = text.chars().count();
        if chars > MAX_CHARS || text.len() > MAX_BYTES {
            return Err(too_long());
        }
        if chars < self.min_chars {
            let message = format!("at least {} characters", self.min_chars);
            return Err(Violation::new(field, "password_too_short", message));
        }
        judge(field, &SecretString::from(text.to_lowercase()), username, email)?;
        Ok(NewPassword(normal))
    }
}

fn judge(
    field: &'static str,
    lower: &SecretString,
    username: &Username,
    email: &Email,
) -> Result<(), Violation> {
    let lower = lower.expose_secret();
    let too_common =
        Violation::new(field, "password_too_common", "too easy to guess: try three or four words");
    if common::COMMON.contains(lower) {
        return Err(too_common);
    }
    if lower.chars().count() > guess::LONGEST_JUDGED {
        return Ok(());
    }
    if guess::cost(lower, &names(username, email)) >= guess::ENOUGH {
        return Ok(());
    }
    if guess::cost(lower, &[SERVICE.to_owned()]) < guess::ENOUGH {
        return Err(too_common);
    }
    let message = "little more than your username or e-mail address";
    Err(Violation::new(field, "password_too_personal", message))
}

/// The words that somebody who knows the account tries first, lowercased.
fn names(username: &Username, email: &Email) -> Vec<String> {
    let whole = [SERVICE, username.canonical(), email.local_part(), email.canonical()];
    let domain = email.canonical().rsplit('@').next().unwrap_or_default();
    let typed = email.as_str().to_lowercase();
    let separators = |c: char| !c.is_alphanumeric();
    whole
        .into_iter()
        .chain([domain, &typed])
        .flat_map(|name| std::iter::once(name).chain(name.split(separators)))
        .filter(|name| name.chars().count() >= SHORTEST_NAME)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str) -> Result<NewPassword, Violation> {
        check_with(PasswordPolicy::new(12), text)
    }

    fn check_with(policy: PasswordPolicy, text: &str) -> Result<NewPassword, Violation> {
        let username = Username::parse("margrethe_v").unwrap();
        let email = Email::parse("m.vestergaard@Fjord.example").unwrap();
        policy.check("/password", &text.into(), &username, &email)
    }

    fn code(text: &str) -> &'static str {
        check(text).map_or_else(|violation| violation.code, |_| "ok")
    }

    #[test]
    fn ordinary_good_passwords_are_taken_as_they_are() {
        let longest = "🔑x".repeat(128);
        for text in [
            "correct horse battery stap",
            "another long passphrase 42",
            "  spaces at both ends\t ",
            "🔑 пароль с ключом 🔑",
            "kT9#mQ2$vL7x",
            &"a".repeat(64),
            &"a".repeat(256),
            &longest,
        ] {
            assert_eq!(check(text).unwrap().expose(), text);
        }
    }

    #[test]
    fn length_is_counted_in_code_points() {
        assert_eq!(code("kT9#mQ2$vL7"), "password_too_short");
        assert_eq!(code("🔑é🌲ß🎈ø🐎æ🔋å📎"), "password_too_short");
        assert_eq!(code("🔑é🌲ß🎈ø🐎æ🔋å📎ł"), "ok");
        assert_eq!(code(&"a".repeat(257)), "password_too_long");
        assert_eq!(code(&"🔑".repeat(257)), "password_too_long");
        assert_eq!(code(&"x".repeat(1_000_000)), "password_too_long");
        // 300 code points, but 150 once composed.
        assert_eq!(code(&"e\u{301}".repeat(150)), "ok");
        assert_eq!(code(""), "password_too_short");
    }

    #[test]
    fn what_everybody_tries_first_is_refused_in_every_letter_case() {
        for text in [
            "password1234",
            "PASSWORD1234",
            "Password12345",
            "123456789012",
            "aaaaaaaaaaaa",
            "qwertyuiop12",
            "QwertyUiop[]",
            "iloveyou1234",
            "administrator",
            "correcthorsebatterystaple",
            "correct horse battery staple",
            "P@ssw0rd2024!",
            "Welcome-2024!",
            "starterstarter",
            "Starter12345!",
        ] {
            assert_eq!(code(text), "password_too_common", "{text}");
        }
    }

    #[test]
    fn the_own_name_and_address_are_refused() {
        for text in [
            "Margrethe_V1",
            "margrethe_v-1985",
            "m.vestergaard@fjord.example",
            "M.Vestergaard@Fjord.Example",
            "vestergaard-2024",
            "fjord.example",
            "margrethe_vmargrethe_v",
        ] {
            assert_eq!(code(text), "password_too_personal", "{text}");
        }
        assert_eq!(code("margrethe_v rides a red bicycle"), "ok");
    }

    #[test]
    fn a_shorter_minimum_stops_at_eight() {
        let policy = PasswordPolicy::new(1);
        assert_eq!(check_with(policy, "kx7#mQ2").unwrap_err().message, "at least 8 characters");
        assert!(check_with(policy, "kx7#mQ2p").is_ok());
        assert_eq!(check_with(policy, "12345678").unwrap_err().code, "password_too_common");
    }

    #[test]
    fn a_password_is_the_same_however_the_keyboard_composes_it() {
        let set = check("caffe\u{301} in the old harbour").unwrap();
        assert!(set.is(&PresentedPassword::new(&"caff\u{e9} in the old harbour".into())));
        assert!(!set.is(&PresentedPassword::new(&"caffe in the old harbour".into())));
        assert!(!set.is(&PresentedPassword::new(&"Caff\u{e9} in the old harbour".into())));
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let shown = format!(
            "{:?} {:?} {:?}",
            check("kT9#mQ2$vL7x").unwrap(),
            PresentedPassword::new(&"secret".into()),
            PasswordHash::new("$argon2id$…"),
        );
        assert_eq!(shown, "NewPassword(…) PresentedPassword(…) PasswordHash(…)");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_is_taken_keeps_the_limits_and_is_its_own_normal_form(text in "\\PC{0,280}") {
            if let Ok(password) = check(&text) {
                let chars = password.expose().chars().count();
                prop_assert!((12..=256).contains(&chars) && password.expose().len() <= 1024);
                prop_assert!(password.is(&PresentedPassword::new(&text.as_str().into())));
                prop_assert!(check(password.expose()).unwrap().expose() == password.expose());
            }
        }

        #[test]
        fn random_passwords_are_taken(text in "[A-Za-z0-9]{16,64}") {
            prop_assert!(check(&text).is_ok());
        }
    }
}
