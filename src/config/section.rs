//! What a section of the configuration is, and the macro that writes one down.
//!
//! A key is named once: as a field with its documentation, type, default and range. The variable's
//! name, the help text, `.env.example` and `starter config show` all follow from that field.

use std::fmt::Display;

use serde::de::DeserializeOwned;

use super::problem::Problems;

/// What is known of a key before any value is read.
#[derive(Debug, Clone)]
pub struct Key {
    /// The full name, such as `STARTER__SERVER__PORT`.
    pub variable: String,
    /// Its documentation: the first line says what it means.
    pub meaning: String,
    /// The default as it would be written, or what it is worked out from; `None`: no default.
    pub default: Option<String>,
    /// What a value may be.
    pub allowed: String,
    /// Never shown; may also come from the file that `…_FILE` names.
    pub secret: bool,
    /// Several values, separated by commas.
    pub list: bool,
}

/// One section: one prefix, one call of `envy`.
pub(super) trait Section: DeserializeOwned + Default + Check {
    /// `STARTER__SERVER__`.
    const PREFIX: &'static str;

    /// Every key, in the order of the fields.
    fn keys() -> Vec<Key>;

    /// Every value as it may be shown, in the order of the keys; `None`: unset.
    fn shown(&self) -> Vec<Option<String>>;

    /// The variables whose numbers lie outside of their range, by their keys' order.
    fn out_of_range(&self) -> Vec<bool>;
}

/// What the type and range of one key cannot tell.
pub(super) trait Check {
    /// Adds what is wrong with the form of texts, and values that contradict each other.
    fn check(&self, _: &mut Problems<'_>) {}
}

/// Writes a section: `pub name: Type = default => range,` with documentation, once per key.
macro_rules! section {
    (
        $(#[$about:meta])*
        pub struct $section:ident($prefix:literal) {
            $(
                $(#[doc = $doc:literal])+
                pub $field:ident: $type:ty = $default:expr $(=> $range:expr)?,
            )+
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $section {
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        impl Default for $section {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl $crate::config::section::Section for $section {
            const PREFIX: &'static str = concat!("STARTER__", $prefix, "__");

            fn keys() -> Vec<$crate::config::section::Key> {
                let unset = Self::default();
                vec![$($crate::config::section::key::<$type>(
                    Self::PREFIX,
                    stringify!($field),
                    &[$($doc),+],
                    (&unset.$field, stringify!($default)),
                    [$($range)?].first(),
                )),+]
            }

            fn shown(&self) -> Vec<Option<String>> {
                vec![$($crate::config::value::Setting::show(&self.$field)),+]
            }

            fn out_of_range(&self) -> Vec<bool> {
                vec![$($crate::config::section::outside(&self.$field, [$($range)?].first())),+]
            }
        }
    };
}
pub(super) use section;

use super::value::Setting;

/// The range of a number, in the number's own unit.
pub(super) type Range = std::ops::RangeInclusive<u64>;

/// The default of keys whose default is the number of cores.
pub(super) const CORES: &str = "number of cores";

/// For the macro: all that is known of one key.
pub(super) fn key<T: Setting>(
    prefix: &str,
    field: &str,
    docs: &[&str],
    (default, written): (&T, &str),
    range: Option<&Range>,
) -> Key {
    let default = match written {
        // Worked out at start: a number would be true on one machine only.
        "cores()" => Some(CORES.to_owned()),
        _ => default.show(),
    };
    Key {
        variable: format!("{prefix}{}", field.to_uppercase()),
        meaning: docs.iter().map(|line| line.trim()).collect::<Vec<_>>().join("\n"),
        default,
        allowed: range.map_or_else(T::allowed, |range| between(range.start(), range.end())),
        secret: T::SECRET,
        list: T::LIST,
    }
}

/// For the macro: whether a number lies outside of its range.
pub(super) fn outside<T: Setting>(value: &T, range: Option<&Range>) -> bool {
    match (value.number(), range) {
        (Some(number), Some(range)) => !range.contains(&number),
        _ => false,
    }
}

/// How a range is told.
pub(super) fn between(low: impl Display, high: impl Display) -> String {
    format!("a whole number from {low} to {high}")
}
