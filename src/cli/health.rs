//! `starter health`: for the health checks of containers.

use std::{fs, time::Duration};

use clap::Args;
use reqwest::{Url, redirect};

use super::{CommonFlags, Failure, Flags, Outcome, Output};
use crate::config::Server;

/// Longest time for the whole question and answer.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Server to ask, by default the one that the configuration describes. Without a path, /health is asked
    #[arg(long)]
    url: Option<String>,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Outcome {
    let mut url = match &arguments.url {
        Some(url) => parsed(url)?,
        None => configured(&Flags::from(CommonFlags::default()).load()?.server)?,
    };
    if url.path() == "/" {
        url.set_path("/health");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let asked = format!("{}{}", url.origin().ascii_serialization(), url.path());
    let (fine, answer) = runtime.block_on(ask(url)).map_err(|error| refused(&asked, error))?;
    output.text(&answer)?;
    if fine { Ok(()) } else { Err(Failure::Told) }
}

fn parsed(text: &str) -> Outcome<Url> {
    let wrong = |why: &str| Failure::Usage(format!("--url {text}: {why}"));
    if !["http://", "https://"].iter().any(|scheme| text.starts_with(scheme)) {
        return Err(wrong("begin with http:// or https://"));
    }
    Url::parse(text).map_err(|error| wrong(&error.to_string()))
}

fn refused(asked: &str, error: reqwest::Error) -> Failure {
    let text = with_causes(&error);
    let nobody = error.is_connect() && text.contains("Connection refused");
    let error = error.without_url();
    Failure::Failed(match nobody {
        true => format!("nothing listens at {}", asked.trim_end_matches("/health")),
        false => format!("{asked}: {}", with_causes(&error)),
    })
}

async fn ask(url: Url) -> reqwest::Result<(bool, String)> {
    // A second call finds the provider in place, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // What a proxy or a redirect answers says nothing about this server.
    let client =
        reqwest::Client::builder().timeout(PATIENCE).no_proxy().redirect(redirect::Policy::none()).build()?;
    let answer = client.get(url).send().await?;
    Ok((answer.status().is_success(), answer.text().await?))
}

/// Where a server with this configuration listens, seen from its own machine.
fn configured(server: &Server) -> Outcome<Url> {
    let host = match server.host.as_str() {
        "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        host => host,
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    Url::parse(&format!("http://{host}:{}/", port(server)?)).map_err(failed)
}

fn port(server: &Server) -> Outcome<u16> {
    match &server.port_file {
        _ if server.port != 0 => Ok(server.port),
        Some(file) => fs::read_to_string(file)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .ok_or_else(|| Failure::Failed(format!("no server has written its port to {}", file.display()))),
        None => Err(Failure::Usage("the port is picked by the server: name it with --url".to_owned())),
    }
}

fn failed(error: impl std::error::Error) -> Failure {
    Failure::Failed(with_causes(&error))
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
