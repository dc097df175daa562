//! Who may call a server on this machine: a page of another site in this machine's browser may not.
//!
//! A browser tells where a page is from in `Origin` and `Sec-Fetch-Site`. A page whose own name has been pointed at this
//! machine (DNS rebinding) comes with that name in `Host`.

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;
use thiserror::Error;

/// The caller may be a page of another site's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("Pages of other sites may not call this function ({what}); {instead}.")]
pub struct Stranger {
    /// What it was known by.
    what: String,
    /// What to do for somebody who is none.
    instead: &'static str,
}

/// Lets a request pass, or refuses it. `authority` is that of its target, where it has one; `listen` is where it came to.
///
/// # Errors
/// It may be a page of another site's.
pub fn check(headers: &HeaderMap, authority: Option<&str>, listen: SocketAddr) -> Result<(), Stranger> {
    // Each of them, where a header comes twice: who reads it later may take another one than this.
    let texts = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    };
    let hosts = texts("host");
    let is_here = |host: &str| is_loopback(host) || host.parse() == Ok(listen.ip());
    if listen.ip().is_loopback() {
        for named in hosts.iter().map(String::as_str).chain(authority) {
            if !is_here(host_of(named)) {
                return Err(refused(&format!("Host {named}"), "call it as localhost, 127.0.0.1 or the address that --listen has"));
            }
        }
    }
    for origin in texts("origin") {
        let host = origin.split_once("://").map(|(_, rest)| host_of(rest));
        let same = |host: &str| is_here(host) || hosts.iter().any(|named| host_of(named).eq_ignore_ascii_case(host));
        if !host.is_some_and(same) {
            return Err(refused(&format!("Origin {origin}"), "serve the page from localhost"));
        }
    }
    if texts("sec-fetch-site").iter().any(|site| site == "cross-site") {
        return Err(refused("Sec-Fetch-Site cross-site", "open the address itself, or serve the page from localhost"));
    }
    Ok(())
}

fn refused(what: &str, instead: &'static str) -> Stranger {
    Stranger { what: what.to_owned(), instead }
}

/// A host without its port, and an IPv6 address without its brackets.
pub fn host_of(authority: &str) -> &str {
    if let Some((address, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    authority.split_once(':').map_or(authority, |(host, _)| host)
}

fn is_loopback(host: &str) -> bool {
    let name = host.to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn passes(listen: &str, headers: &[(&'static str, &'static str)]) -> bool {
        let headers: HeaderMap =
            headers.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
        check(&headers, None, listen.parse().expect("it is an address")).is_ok()
    }

    const LOOPBACK: &str = "127.0.0.1:9000";

    #[test]
    fn this_machine_is_called_by_its_own_names() {
        for host in [
            "localhost",
            "localhost:9000",
            "LOCALHOST:1",
            "orders.localhost:9000",
            "127.0.0.1:9000",
            "127.1.2.3",
            "[::1]:9000",
            "[::1]",
        ] {
            assert!(passes(LOOPBACK, &[("host", host)]), "{host}");
        }
        assert!(passes(LOOPBACK, &[]));
        for host in [
            "evil.example",
            "evil.example:9000",
            "localhost.evil.example",
            "127.0.0.1.evil.example:9000",
            "10.0.0.1",
            "[::2]:9000",
            "",
        ] {
            assert!(!passes(LOOPBACK, &[("host", host)]), "{host}");
        }
    }

    #[test]
    fn a_target_names_a_host_too() {
        let listen = LOOPBACK.parse().expect("it is an address");
        assert!(check(&HeaderMap::new(), Some("localhost:9000"), listen).is_ok());
        assert!(check(&HeaderMap::new(), Some("evil.example"), listen).is_err());
    }

    #[test]
    fn pages_of_this_machine_may_call_and_others_may_not() {
        for origin in ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:5173"] {
            assert!(passes(LOOPBACK, &[("host", "localhost:9000"), ("origin", origin)]), "{origin}");
        }
        for origin in ["https://evil.example", "null", "http://localhost.evil.example", "", "localhost"] {
            assert!(!passes(LOOPBACK, &[("host", "localhost:9000"), ("origin", origin)]), "{origin}");
        }
        for (site, allowed) in [("none", true), ("same-origin", true), ("same-site", true), ("cross-site", false)] {
            assert_eq!(passes(LOOPBACK, &[("sec-fetch-site", site)]), allowed, "{site}");
        }
    }

    #[test]
    fn of_a_header_that_comes_twice_each_counts() {
        for (name, good, bad) in [
            ("host", "localhost", "evil.example"),
            ("origin", "http://localhost", "https://evil.example"),
            ("sec-fetch-site", "none", "cross-site"),
        ] {
            assert!(passes(LOOPBACK, &[(name, good), (name, good)]), "{name}");
            assert!(!passes(LOOPBACK, &[(name, good), (name, bad)]), "{name}");
            assert!(!passes(LOOPBACK, &[(name, bad), (name, good)]), "{name}");
        }
    }

    #[test]
    fn elsewhere_any_host_is_called_but_not_by_other_sites() {
        assert!(passes("0.0.0.0:9000", &[("host", "build.example:9000"), ("origin", "http://build.example")]));
        assert!(passes("192.168.0.2:9000", &[("host", "192.168.0.2:9000"), ("origin", "http://192.168.0.2:9000")]));
        assert!(!passes("0.0.0.0:9000", &[("host", "build.example:9000"), ("origin", "http://evil.example")]));
    }
}
