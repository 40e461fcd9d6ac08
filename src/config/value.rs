//! The types that a key may have: how each is shown, and what it allows.

use std::path::PathBuf;

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::section::between;

/// What stands for a secret wherever a configuration is shown.
pub(super) const MASK: &str = "********";

/// A type that a key may have.
pub(super) trait Setting {
    /// Never shown; may also come from a file.
    const SECRET: bool = false;
    /// Several values, separated by commas.
    const LIST: bool = false;

    /// What a value may be, for a person who wrote another.
    fn allowed() -> String;

    /// The value as it would be written, secrets masked; `None`: unset.
    fn show(&self) -> Option<String>;

    /// The value as a number, if it is one: for ranges.
    fn number(&self) -> Option<u64> {
        None
    }
}

macro_rules! whole_numbers {
    ($($type:ty)+) => {$(
        impl Setting for $type {
            fn allowed() -> String {
                between(Self::MIN, Self::MAX)
            }

            fn show(&self) -> Option<String> {
                Some(self.to_string())
            }

            fn number(&self) -> Option<u64> {
                u64::try_from(*self).ok()
            }
        }
    )+};
}
whole_numbers!(u16 u32 u64 usize);

impl Setting for bool {
    fn allowed() -> String {
        "true or false".to_owned()
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for String {
    fn allowed() -> String {
        "a text".to_owned()
    }

    fn show(&self) -> Option<String> {
        Some(self.clone())
    }
}

impl Setting for PathBuf {
    fn allowed() -> String {
        "a path".to_owned()
    }

    fn show(&self) -> Option<String> {
        Some(self.display().to_string())
    }
}

impl Setting for SecretString {
    const SECRET: bool = true;

    fn allowed() -> String {
        "a text".to_owned()
    }

    fn show(&self) -> Option<String> {
        Some(MASK.to_owned())
    }
}

impl Setting for IpNet {
    fn allowed() -> String {
        "networks in CIDR notation separated by commas, such as 10.0.0.0/8,::1/128".to_owned()
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl<T: Setting> Setting for Option<T> {
    const SECRET: bool = T::SECRET;
    const LIST: bool = T::LIST;

    fn allowed() -> String {
        T::allowed()
    }

    fn show(&self) -> Option<String> {
        self.as_ref().and_then(T::show)
    }

    fn number(&self) -> Option<u64> {
        self.as_ref().and_then(T::number)
    }
}

impl<T: Setting> Setting for Vec<T> {
    const SECRET: bool = T::SECRET;
    const LIST: bool = true;

    fn allowed() -> String {
        T::allowed()
    }

    fn show(&self) -> Option<String> {
        let items: Vec<_> = self.iter().filter_map(T::show).collect();
        (!items.is_empty()).then(|| items.join(","))
    }
}

/// A closed set of words: an enum, its words, and how it is shown.
macro_rules! words {
    ($($(#[$about:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ })+) => {$(
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
        #[serde(try_from = "String")]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// The word in the environment.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl TryFrom<String> for $name {
            type Error = &'static str;

            fn try_from(word: String) -> Result<Self, Self::Error> {
                match word.as_str() {
                    $($word => Ok(Self::$variant),)+
                    _ => Err("not one of the words"),
                }
            }
        }

        impl $crate::config::value::Setting for $name {
            fn allowed() -> String {
                format!("one of {}", [$($word),+].join(", "))
            }

            fn show(&self) -> Option<String> {
                Some(self.as_str().to_owned())
            }
        }
    )+};
}
pub(super) use words;

/// An `http` or `https` URL without user, query, fragment or trailing slash.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct PublicUrl(String);

impl PublicUrl {
    /// The URL, to which a path that begins with `/` can be appended.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let url = Url::parse(&text).map_err(|_| "not a URL")?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("neither http nor https");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("holds a user or a password");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("has a query or a fragment");
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }
}

impl Setting for PublicUrl {
    fn allowed() -> String {
        "an http or https URL such as https://example.org, or https://example.org/app".to_owned()
    }

    fn show(&self) -> Option<String> {
        Some(self.0.clone())
    }
}

/// What a secret that is a text holds, for the few places that hand it on.
pub(super) fn exposed(secret: &SecretString) -> &str {
    secret.expose_secret()
}
