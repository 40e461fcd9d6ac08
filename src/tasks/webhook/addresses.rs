//! Where webhooks may go. Whoever may enqueue tasks must not reach into the network of the worker, to the
//! metadata service of its cloud least of all (OWASP: Server-Side Request Forgery Prevention).
//!
//! The name is resolved once and the connection is made to the very addresses that were judged, so that a name that
//! changes its mind in between (DNS rebinding) gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// IANA's special-purpose registries: whatever is not globally reachable, and what is not for one receiver.
const CLOSED_V4: &[(Ipv4Addr, u8)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];
/// Of IPv6 only the globally routed part is open; these lie within it and are not.
const OPEN_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
const CLOSED_V6: &[(Ipv6Addr, u8)] = &[
    // Teredo, ORCHID and other protocols' own; documentation; 6to4, which carries an IPv4 address.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Whether a webhook may go there.
pub(super) fn is_public(address: IpAddr) -> bool {
    let within_v4 = |net: &(Ipv4Addr, u8), a| Ipv4Net::new(net.0, net.1).is_ok_and(|net| net.contains(&a));
    let within_v6 = |net: &(Ipv6Addr, u8), a| Ipv6Net::new(net.0, net.1).is_ok_and(|net| net.contains(&a));
    match address.to_canonical() {
        IpAddr::V4(address) => !CLOSED_V4.iter().any(|net| within_v4(net, address)),
        IpAddr::V6(address) => {
            within_v6(&OPEN_V6, address) && !CLOSED_V6.iter().any(|net| within_v6(net, address))
        }
    }
}

/// Resolves names to addresses that webhooks may go to.
#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) allow_private: bool,
}

/// The name leads nowhere else.
#[derive(Debug)]
pub(super) struct OnlyPrivate;

impl std::fmt::Display for OnlyPrivate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the name leads to private addresses only")
    }
}

impl std::error::Error for OnlyPrivate {}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            // The port is put in by the client.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let open: Vec<SocketAddr> =
                found.into_iter().filter(|found| allow_private || is_public(found.ip())).collect();
            if open.is_empty() {
                return Err(OnlyPrivate.into());
            }
            Ok(Box::new(open.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_inside_are_closed_in_every_spelling() {
        for address in [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "192.0.2.1",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "100::1",
            "5f00::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn addresses_of_the_outside_are_open() {
        for address in
            ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "192.0.1.1", "2606:4700::1111", "2a00::1"]
        {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_only_is_refused() {
        let resolve = |allow_private| Resolver { allow_private }.resolve("localhost".parse().unwrap());
        assert!(resolve(false).await.err().unwrap().is::<OnlyPrivate>());
        assert!(resolve(true).await.is_ok());
    }
}
