//! PostgreSQL URLs, and what libpq knows in them that tokio-postgres does not.

/// A URL less the parameters that tokio-postgres does not know.
pub(super) struct Url {
    pub(super) rest: String,
    pub(super) sslmode: Option<String>,
    pub(super) sslrootcert: Option<String>,
    pub(super) options_given: bool,
}

impl Url {
    /// Takes such parameters out of it.
    pub(super) fn split(url: &str) -> Self {
        // Not within the password, which ends at the `@`.
        let authority = url.find('@').unwrap_or(0);
        let (credentials, place) = url.split_at(authority);
        let (place, parameters) = place.split_once('?').unwrap_or((place, ""));
        let mut split = Self {
            rest: format!("{credentials}{place}"),
            sslmode: None,
            sslrootcert: None,
            options_given: false,
        };
        let mut kept = Vec::new();
        for parameter in parameters.split('&').filter(|p| !p.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", value)) => split.sslmode = Some(decoded(value)),
                Some(("sslrootcert", value)) => split.sslrootcert = Some(decoded(value)),
                Some(("options", "")) => split.options_given = true,
                Some(("options", _)) => {
                    split.options_given = true;
                    kept.push(parameter);
                }
                _ => kept.push(parameter),
            }
        }
        if !kept.is_empty() {
            split.rest = format!("{}?{}", split.rest, kept.join("&"));
        }
        split
    }
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}
