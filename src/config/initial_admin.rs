//! `STARTER__INITIAL_ADMIN__*`: the first admin of a new installation.

use secrecy::SecretString;

use super::{
    Auth,
    problem::Problems,
    section::{Check, section},
};
use crate::domain::{Violation, email::Email, password::PasswordPolicy, username::Username};

const USERNAME: &str = "STARTER__INITIAL_ADMIN__USERNAME";
const EMAIL: &str = "STARTER__INITIAL_ADMIN__EMAIL";
const PASSWORD: &str = "STARTER__INITIAL_ADMIN__PASSWORD";

section! {
    /// The admin that is made at start when there is none. All three, or none of them.
    pub struct InitialAdmin("INITIAL_ADMIN") {
        /// Name of the admin that is made at start when there is none yet.
        pub username: Option<String> = None,

        /// E-mail address of that admin.
        pub email: Option<String> = None,

        /// Password of that admin; change it after the first log-in, and take this variable away.
        pub password: Option<SecretString> = None,
    }
}

impl InitialAdmin {
    /// All three, when they are set.
    pub fn get(&self) -> Option<(&str, &str, &SecretString)> {
        Some((self.username.as_deref()?, self.email.as_deref()?, self.password.as_ref()?))
    }
}

impl InitialAdmin {
    /// What the rules for accounts say, `auth` among them. Found here, it is found before anything starts.
    pub(super) fn check_account(&self, auth: &Auth, problems: &mut Problems<'_>) {
        let Some((username, email, password)) = self.get() else { return };
        let told = |violation: Violation| violation.message.into_owned();
        let username = Username::parse(username)
            .map_err(|violation| problems.contradiction(&[USERNAME], "not a username", &told(violation)));
        let email = Email::parse(email)
            .map_err(|violation| problems.contradiction(&[EMAIL], "not an e-mail address", &told(violation)));
        if let (Ok(username), Ok(email)) = (username, email) {
            let policy = PasswordPolicy::new(auth.password_min_length);
            if let Err(violation) = policy.check("/password", password, &username, &email) {
                problems.contradiction(
                    &[PASSWORD, "STARTER__AUTH__PASSWORD_MIN_LENGTH"],
                    "not a password that accounts may have",
                    &told(violation),
                );
            }
        }
    }
}

impl Check for InitialAdmin {
    fn check(&self, problems: &mut Problems<'_>) {
        let keys = [
            (USERNAME, self.username.is_some()),
            (EMAIL, self.email.is_some()),
            (PASSWORD, self.password.is_some()),
        ];
        if keys.iter().all(|(_, set)| !set) {
            return;
        }
        for (missing, _) in keys.iter().filter(|(_, set)| !set) {
            problems.contradiction(&[missing], "missing", "USERNAME, EMAIL and PASSWORD, or none of them");
        }
    }
}
