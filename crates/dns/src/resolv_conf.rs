//! The system's resolver configuration, resolv.conf(5).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::rr::Name;

/// What of it is used. `ndots` is not: who asks decides what is completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConf {
    /// The servers, in order; with their scope left out, if they have one.
    pub servers: Vec<SocketAddr>,
    /// Domains to complete a name without a dot with.
    pub search: Vec<Name>,
    /// How long a server may take.
    pub timeout: Duration,
    /// How often each is asked.
    pub attempts: usize,
}

/// The C library knows no more servers than this.
const MAX_SERVERS: usize = 3;

impl ResolvConf {
    /// Reads the text of a `resolv.conf`. What is not understood is skipped, as the C library does.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut conf = Self {
            servers: Vec::new(),
            search: Vec::new(),
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        for line in text.lines() {
            // A comment starts the line; further on `;` and `#` are no comments.
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => conf.servers.extend(words.next().and_then(server)),
                // The last one counts.
                Some("search" | "domain") => {
                    conf.search = words.filter_map(|name| Name::from_ascii(name).ok()).collect();
                }
                Some("options") => words.for_each(|option| conf.option(option)),
                _ => {}
            }
        }
        conf.servers.truncate(MAX_SERVERS);
        conf
    }

    fn option(&mut self, option: &str) {
        let number = |text: &str| text.parse::<u8>().ok().map(|number| number.max(1));
        match option.split_once(':') {
            Some(("timeout", value)) => {
                if let Some(seconds) = number(value) {
                    self.timeout = Duration::from_secs(seconds.min(30).into());
                }
            }
            Some(("attempts", value)) => {
                if let Some(attempts) = number(value) {
                    self.attempts = attempts.min(5).into();
                }
            }
            _ => {}
        }
    }
}

fn server(text: &str) -> Option<SocketAddr> {
    let address = text.split_once('%').map_or(text, |(address, _scope)| address);
    Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, 53))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_resolver_needs_is_read() {
        let conf = ResolvConf::parse(
            "# made by hand\nnameserver 10.0.0.53\nnameserver fe80::1%eth0\nnameserver nowhere\n\
             domain old.example\nsearch a.example b.example.\n\
             options ndots:5 timeout:1 attempts:9 rotate\n",
        );
        let names = ["a.example", "b.example."].map(|name| Name::from_ascii(name).unwrap());
        let servers = ["10.0.0.53:53", "[fe80::1]:53"].map(|server| server.parse().unwrap());
        let expected = ResolvConf {
            servers: servers.to_vec(),
            search: names.to_vec(),
            timeout: Duration::from_secs(1),
            attempts: 5,
        };
        assert_eq!(conf, expected);
    }

    #[test]
    fn an_empty_file_has_the_defaults_of_the_c_library() {
        let conf = ResolvConf::parse("");
        assert!(conf.servers.is_empty() && conf.search.is_empty());
        assert_eq!((conf.timeout.as_secs(), conf.attempts), (5, 2));
    }
}
