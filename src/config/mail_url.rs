//! The URL that says how mails leave.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use url::Url;

use super::value::{MASK, Setting};

/// How mails leave.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(try_from = "String")]
pub enum MailUrl {
    /// One `.eml` per mail in this directory.
    File(PathBuf),
    /// A mail server.
    Smtp(Smtp),
}

/// A mail server, and how to speak to it.
#[derive(Debug, Clone)]
pub struct Smtp {
    /// Name or address.
    pub host: String,
    /// By default 25 without TLS, 587 with STARTTLS, 465 with TLS from the start.
    pub port: u16,
    /// User and password, when the server wants them.
    pub credentials: Option<(String, SecretString)>,
    /// Whether and when TLS starts.
    pub tls: SmtpTls,
}

/// Whether and when TLS starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// Never: `tls=none`.
    None,
    /// By STARTTLS if the server offers it: `tls=opportunistic`. An attacker on the way can prevent it.
    Opportunistic,
    /// By STARTTLS, or no mail is sent: `tls=required`.
    Required,
    /// From the first byte: `smtps`.
    Wrapper,
}

impl SmtpTls {
    fn default_port(self) -> u16 {
        match self {
            Self::None => 25,
            Self::Opportunistic | Self::Required => 587,
            Self::Wrapper => 465,
        }
    }
}

impl TryFrom<String> for MailUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if let Some(directory) = text.strip_prefix("file:") {
            let directory = directory.strip_prefix("//").unwrap_or(directory);
            return if directory.is_empty() {
                Err("names no directory")
            } else {
                Ok(Self::File(directory.into()))
            };
        }
        let url = Url::parse(&text).map_err(|_| "not a URL")?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("names no host")?;
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err("has a path or a fragment");
        }
        let tls = tls(&url)?;
        Ok(Self::Smtp(Smtp {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: url.port().unwrap_or(tls.default_port()),
            credentials: credentials(&url)?,
            tls,
        }))
    }
}

fn tls(url: &Url) -> Result<SmtpTls, &'static str> {
    let parameters: Vec<_> = url.query_pairs().collect();
    let wanted = match parameters.as_slice() {
        [] => None,
        [(name, value)] if name == "tls" => Some(value.as_ref()),
        _ => return Err("has a parameter other than tls"),
    };
    match (url.scheme(), wanted) {
        ("smtps", None) => Ok(SmtpTls::Wrapper),
        ("smtps", Some(_)) => Err("smtps is TLS from the start, tls=… is for smtp"),
        ("smtp", Some("required")) => Ok(SmtpTls::Required),
        // A password is sent in the clear only where `tls=none` says so.
        ("smtp", None) if url.password().is_some() => Ok(SmtpTls::Required),
        ("smtp", None) => Ok(SmtpTls::Opportunistic),
        ("smtp", Some("opportunistic")) => Ok(SmtpTls::Opportunistic),
        ("smtp", Some("none")) => Ok(SmtpTls::None),
        ("smtp", Some(_)) => Err("tls is not one of none, opportunistic, required"),
        _ => Err("neither smtp, smtps nor file"),
    }
}

fn credentials(url: &Url) -> Result<Option<(String, SecretString)>, &'static str> {
    let decoded = |text| percent_decode_str(text).decode_utf8().map_err(|_| "user or password is not UTF-8");
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        ("", Some(_)) | (_, None) => Err("has a user or a password, and not both"),
        (user, Some(password)) => {
            Ok(Some((decoded(user)?.into_owned(), SecretString::from(decoded(password)?.into_owned()))))
        }
    }
}

impl Setting for MailUrl {
    const SECRET: bool = true;

    fn allowed() -> String {
        "smtp://user:password@host:port?tls=none|opportunistic|required, smtps://…, or file:DIR".to_owned()
    }

    fn show(&self) -> Option<String> {
        Some(match self {
            Self::File(directory) => format!("file:{}", directory.display()),
            Self::Smtp(smtp) => smtp.masked(),
        })
    }
}

impl Smtp {
    fn masked(&self) -> String {
        let (scheme, tls) = match self.tls {
            SmtpTls::None => ("smtp", "?tls=none"),
            SmtpTls::Opportunistic => ("smtp", "?tls=opportunistic"),
            SmtpTls::Required => ("smtp", "?tls=required"),
            SmtpTls::Wrapper => ("smtps", ""),
        };
        let user = match &self.credentials {
            Some((user, _)) => format!("{user}:{MASK}@"),
            None => String::new(),
        };
        match &self.host {
            address if address.contains(':') => format!("{scheme}://{user}[{address}]:{}{tls}", self.port),
            host => format!("{scheme}://{user}{host}:{}{tls}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn mail_urls_say_where_and_how_safely() {
        let parse = |text: &str| MailUrl::try_from(text.to_owned());
        let smtp = |text: &str| match parse(text) {
            Ok(MailUrl::Smtp(smtp)) => smtp,
            other => panic!("{text}: {other:?}"),
        };
        assert!(
            matches!(parse("file:.starter/mail"), Ok(MailUrl::File(path)) if path == Path::new(".starter/mail"))
        );
        assert!(
            matches!(parse("file:///var/mail"), Ok(MailUrl::File(path)) if path == Path::new("/var/mail"))
        );
        let server = smtp("smtp://us%40er:p%3Aw@mail.example:2525?tls=required");
        let (user, password) = server.credentials.unwrap();
        assert_eq!((user.as_str(), password.expose_secret()), ("us@er", "p:w"));
        assert_eq!(
            (server.host.as_str(), server.port, server.tls),
            ("mail.example", 2525, SmtpTls::Required)
        );
        assert_eq!(smtp("smtps://mail.example").port, 465);
        assert_eq!(smtp("smtp://u:p@mail.example").tls, SmtpTls::Required);
        assert_eq!(smtp("smtp://127.0.0.1:1025").tls, SmtpTls::Opportunistic);
        assert_eq!(smtp("smtp://[::1]:25?tls=none").host, "::1");
        for bad in [
            "",
            "file:",
            "mail.example",
            "http://mail.example",
            "smtp://",
            "smtp://u@h",
            "smtp://h?tls=maybe",
            "smtps://h?tls=none",
            "smtp://h/path",
            "smtp://h?x=1",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
