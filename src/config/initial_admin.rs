//! `STARTER__INITIAL_ADMIN__*`: the first admin of a new installation.

use secrecy::SecretString;

use super::{
    problem::Problems,
    section::{Check, section},
};

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

impl Check for InitialAdmin {
    fn check(&self, problems: &mut Problems<'_>) {
        let keys = [
            ("STARTER__INITIAL_ADMIN__USERNAME", self.username.is_some()),
            ("STARTER__INITIAL_ADMIN__EMAIL", self.email.is_some()),
            ("STARTER__INITIAL_ADMIN__PASSWORD", self.password.is_some()),
        ];
        if keys.iter().all(|(_, set)| !set) {
            return;
        }
        for (missing, _) in keys.iter().filter(|(_, set)| !set) {
            problems.contradiction(&[missing], "missing", "USERNAME, EMAIL and PASSWORD, or none of them");
        }
    }
}
