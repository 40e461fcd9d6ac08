//! `webhook.deliver`: one delivery.

use std::{
    error::Error as _,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::{Response, StatusCode, Url, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Host;

use super::{
    Webhooks, addresses,
    signature::{Signer, sign},
};
use crate::{
    domain::{Error, JsonText, Role, TaskId, Violation},
    tasks::{Context, Outcome, RetryPolicy, Stop, TaskType},
};

const LONGEST_URL: usize = 2_048;
const LONGEST_EVENT: usize = 100;
/// Of the answer's body, which says nothing to us; read so that the receiver can end in peace.
const LONGEST_ANSWER: usize = 64 * 1024;
/// A receiver may not put us off for longer.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Delivers an event to a URL, signed as Standard Webhooks has it. 2xx is success; 410 and redirects are refused for
/// good, and so are private addresses; everything else is tried again. `webhook-signer` says whose key signs it: `service`,
/// for what administrators order, or `user/ID`, which no key of the service fits.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct WebhookDeliver {
    /// `https://…` or `http://…`, at a public address.
    #[schemars(length(max = 2048))]
    url: String,
    /// What happened, such as `invoice.paid`.
    #[schemars(regex(pattern = "^[A-Za-z0-9_.-]{1,100}$"))]
    event: String,
    /// More about it.
    #[schemars(with = "Value")]
    data: JsonText,
}

/// What is sent, with the digits of `data` as they came.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    event: &'a str,
    timestamp: &'a str,
    data: &'a JsonText,
}

impl TaskType for WebhookDeliver {
    const NAME: &'static str = "webhook.deliver";
    const MAX_ATTEMPTS: i32 = 10;
    const TIMEOUT: Duration = Duration::from_secs(330);
    const RETRY: RetryPolicy =
        RetryPolicy { first: Duration::from_secs(5), factor: 4.0, longest: Duration::from_secs(6 * 3600) };

    fn check(&self) -> Vec<Violation> {
        let mut wrong = Vec::new();
        if self.read_url().is_none() {
            let message = "http or https, at most 2048 bytes, without user and password";
            wrong.push(Violation::new("/url", "invalid_url", message));
        }
        let named = |c: u8| c.is_ascii_alphanumeric() || b"_.-".contains(&c);
        if self.event.is_empty() || self.event.len() > LONGEST_EVENT || !self.event.bytes().all(named) {
            let message = "1 to 100 letters, digits, '.', '_' or '-'";
            wrong.push(Violation::new("/event", "invalid_event", message));
        }
        wrong
    }

    async fn run(self, context: Context) -> Outcome {
        let Some(webhooks) = &context.services.webhooks else {
            return Err(Stop::refused("no signing secret is configured for webhooks"));
        };
        let url = self.read_url().ok_or_else(|| Stop::refused("the URL cannot be used"))?;
        if !webhooks.allow_private && literal(&url).is_some_and(|address| !addresses::is_public(address)) {
            return Err(private());
        }
        let began = Instant::now();
        let signer = signer(&context).await?;
        let sent = webhooks.send(url, signer, context.task_id, &self.event, &self.data);
        match context.cancelled.run_until_cancelled(sent).await {
            None => Err(Stop::Cancelled),
            Some(Err(stop)) => Err(stop),
            Some(Ok(response)) => {
                let status = response.status();
                // It is delivered, also when the answer has no end.
                let _read = context.cancelled.run_until_cancelled(drain(response)).await;
                let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                log::info!(task_id:% = context.task_id, status = status.as_u16(), milliseconds; "webhook delivered");
                Ok(json!({ "status": status.as_u16(), "duration_ms": milliseconds }))
            }
        }
    }
}

impl WebhookDeliver {
    fn read_url(&self) -> Option<Url> {
        let url = Url::parse(&self.url).ok().filter(|_| self.url.len() <= LONGEST_URL)?;
        let plain = url.username().is_empty() && url.password().is_none() && url.host().is_some();
        (plain && matches!(url.scheme(), "http" | "https")).then_some(url)
    }
}

/// The address in a URL without a name: no resolver is asked for it.
fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
    }
}

/// A receiver that trusts what the service signs must not be told by users what to believe. The role is the present one.
async fn signer(context: &Context) -> Result<Signer, Stop> {
    let Some(owner) = context.created_by else { return Ok(Signer::Service) };
    let found = context.services.users.find(owner).await?;
    let is_admin = found.is_some_and(|user| user.is_active && user.role == Role::Admin);
    Ok(if is_admin { Signer::Service } else { Signer::User(owner) })
}

fn private() -> Stop {
    Stop::refused("the address is private, and webhooks may not go there")
}

impl Webhooks {
    /// The answer, if it means success.
    async fn send(
        &self,
        url: Url,
        signer: Signer,
        id: TaskId,
        event: &str,
        data: &JsonText,
    ) -> Result<Response, Stop> {
        // The same for every attempt at it.
        let made = id.0.get_timestamp().map_or((0, 0), |timestamp| timestamp.to_unix());
        let made = DateTime::from_timestamp(made.0.cast_signed(), made.1).unwrap_or_default();
        let made = made.to_rfc3339_opts(SecondsFormat::Millis, true);
        let body = serde_json::to_string(&Body { event, timestamp: &made, data }).map_err(Error::internal)?;
        let (id, now) = (id.to_string(), Utc::now().timestamp());
        let signature = sign(&signer.key(&self.key)?, &id, now, &body)?;
        let request = self
            .client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", now)
            .header("webhook-signer", signer.name())
            .header("webhook-signature", signature)
            .body(body);
        match request.send().await {
            Ok(response) => judge(response),
            Err(error) => Err(not_sent(&error)),
        }
    }
}

fn judge(response: Response) -> Result<Response, Stop> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    if status == StatusCode::GONE {
        return Err(Stop::refused("the receiver wants no more of them (410)"));
    }
    if status.is_redirection() {
        return Err(Stop::refused(format!(
            "the receiver redirects ({}), which is not followed",
            status.as_u16()
        )));
    }
    let not_before = retry_after(&response).map(|wait| wait.min(LONGEST_RETRY_AFTER));
    Err(Stop::Failed { why: format!("the receiver answered {}", status.as_u16()).into(), not_before })
}

/// Returns how long the receiver wants to be left alone.
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    read_retry_after(value, SystemTime::now())
}

/// Reads seconds, however many, or a date in any of the three formats (RFC 9110 10.2.3 and 5.6.7).
fn read_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Only a number that is too large does not parse.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value)
        .or_else(|_| DateTime::parse_from_rfc2822(value).map(SystemTime::from))
        .ok()?;
    date.duration_since(now).ok()
}

fn not_sent(error: &reqwest::Error) -> Stop {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.is::<addresses::OnlyPrivate>() {
            return private();
        }
        cause = inner.source();
    }
    log::warn!(error:% = error.to_string(); "webhook not delivered");
    Stop::failed(if error.is_timeout() {
        "the receiver did not answer in time"
    } else {
        "the receiver was not reached"
    })
}

async fn drain(mut response: Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        if read >= LONGEST_ANSWER {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_retry_after_is_understood() {
        let now = DateTime::parse_from_rfc3339("2026-11-27T17:40:00Z").unwrap().into();
        let secs = |value: &str| read_retry_after(value, now).map(|wait| wait.as_secs());
        for (value, expected) in [
            ("Fri, 27 Nov 2026 17:41:19 GMT", Some(79)),
            ("Friday, 27-Nov-26 17:41:19 GMT", Some(79)),
            ("Fri Nov 27 17:41:19 2026", Some(79)),
            ("Fri, 27 Nov 2026 17:41:19 +0000", Some(79)),
            ("Fri, 27 Nov 2026 17:39:00 GMT", None),
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", Some(u64::MAX)),
            (&"9".repeat(1_000), Some(u64::MAX)),
            ("", None),
            ("+5", None),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(secs(value), expected, "{value}");
        }
    }
}
