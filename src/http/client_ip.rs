//! Whose request it is: the address that rate limits, logs and sessions go by.
//!
//! The peer of the socket, unless that is a trusted proxy: then what the proxies say, read from
//! the right, because everything left of the last trusted hop was written by the caller.

use std::{
    future::{Ready, ready},
    net::{IpAddr, SocketAddr},
};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload, http::header::HeaderMap};
use ipnet::IpNet;

use super::problem::Problem;
use crate::domain::Error;

/// The caller's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientIp(pub IpAddr);

impl FromRequest for ClientIp {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let known = request.extensions().get::<Self>().copied();
        ready(known.ok_or_else(|| Error::internal("the client's address was not determined").into()))
    }
}

impl ClientIp {
    /// From the peer, and from the headers as far as the peer and those behind it are `trusted`.
    pub fn of(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let peer = peer.to_canonical();
        let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
        if !is_trusted(peer) {
            return Self(peer);
        }
        let by_x = elements(headers, "x-forwarded-for");
        let by_x = walk(peer, by_x.iter().map(|hop| node(hop)), is_trusted);
        let by_forwarded = elements(headers, "forwarded");
        let by_forwarded = walk(peer, by_forwarded.iter().map(|hop| node(forwarded_for(hop)?)), is_trusted);
        match (by_x, by_forwarded) {
            (Some(one), Some(other)) if one == other => Self(one),
            // The proxy wrote one of the two and let the other pass: it cannot be told which.
            (Some(_), Some(_)) => Self(peer),
            (only, None) | (None, only) => Self(only.unwrap_or(peer)),
        }
    }
}

/// The elements of a list header, all its lines joined in order.
fn elements<'a>(headers: &'a HeaderMap, name: &'static str) -> Vec<&'a str> {
    let lines = headers.get_all(name).map(|value| value.to_str().unwrap_or("?"));
    lines.flat_map(|line| line.split(',')).map(str::trim).collect()
}

/// The first hop, from the right, that is not trusted; the leftmost if all are. `None` without hops.
fn walk(
    peer: IpAddr,
    hops: impl DoubleEndedIterator<Item = Option<IpAddr>> + ExactSizeIterator,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Option<IpAddr> {
    if hops.len() == 0 {
        return None;
    }
    let mut client = peer;
    for hop in hops.rev() {
        // What does not parse was not written by a proxy of ours: whoever wrote it is not believed.
        let Some(address) = hop else { break };
        client = address;
        if !is_trusted(client) {
            break;
        }
    }
    Some(client)
}

/// The `for` of one element of `Forwarded` (RFC 7239, section 4).
fn forwarded_for(element: &str) -> Option<&str> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    Some(value.trim().trim_matches('"'))
}

/// An address, with or without brackets and port (RFC 7239, section 6).
fn node(text: &str) -> Option<IpAddr> {
    let address = text
        .parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn client(peer: &str, lines: &[(&'static str, &str)]) -> String {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].iter().map(|net| net.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        ClientIp::of(peer.parse().unwrap(), &headers, &trusted).0.to_string()
    }

    #[test]
    fn headers_of_a_stranger_are_not_believed() {
        assert_eq!(client("8.8.8.8", &[("x-forwarded-for", "1.1.1.1")]), "8.8.8.8");
        assert_eq!(client("8.8.8.8", &[("forwarded", "for=1.1.1.1")]), "8.8.8.8");
    }

    #[test]
    fn the_last_hop_that_is_not_trusted_is_the_client() {
        let lines = [("x-forwarded-for", "9.9.9.9, 1.1.1.1"), ("x-forwarded-for", "10.2.2.2")];
        assert_eq!(client("10.0.0.1", &lines), "1.1.1.1");
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "10.3.3.3, 10.2.2.2")]), "10.3.3.3");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn what_is_no_address_ends_the_walk_at_the_last_one_believed() {
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "1.1.1.1, ' OR 1=1--")]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "1.1.1.1, unknown, 10.2.2.2")]), "10.2.2.2");
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "")]), "10.0.0.1");
    }

    #[test]
    fn ports_brackets_and_mapped_addresses_are_understood() {
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "1.1.1.1:8080")]), "1.1.1.1");
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "[2001:db8::1]:443")]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "[2001:db8::1]")]), "2001:db8::1");
        assert_eq!(client("::ffff:10.0.0.1", &[("x-forwarded-for", "::ffff:1.1.1.1")]), "1.1.1.1");
        let forwarded = r#"for=9.9.9.9;proto=https, For="[2001:db8::1]:4711";by=10.0.0.1"#;
        assert_eq!(client("10.0.0.1", &[("forwarded", forwarded)]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &[("forwarded", "for=_hidden")]), "10.0.0.1");
    }

    #[test]
    fn two_headers_that_disagree_are_both_not_believed() {
        let both = |x, forwarded| client("10.0.0.1", &[("x-forwarded-for", x), ("forwarded", forwarded)]);
        assert_eq!(both("1.1.1.1", "for=1.1.1.1"), "1.1.1.1");
        assert_eq!(both("1.1.1.1", "for=2.2.2.2"), "10.0.0.1");
        assert_eq!(both("1.1.1.1", "by=10.0.0.1"), "10.0.0.1");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn a_caller_cannot_choose_the_address_whatever_he_writes(forged in "[ -~]{0,40}") {
            let line = format!("{forged}, 7.7.7.7");
            prop_assert_eq!(client("10.0.0.1", &[("x-forwarded-for", &line)]), "7.7.7.7");
        }
    }
}
