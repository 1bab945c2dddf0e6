//! The system's table of hosts, hosts(5).

use std::collections::HashMap;
use std::net::IpAddr;

/// Names and their addresses.
#[derive(Debug, Default)]
pub(super) struct Hosts(HashMap<String, Vec<IpAddr>>);

impl Hosts {
    /// Reads the text of a hosts file. A line that starts with no address is skipped, as the C
    /// library does.
    pub(super) fn parse(text: &str) -> Self {
        let mut table: HashMap<String, Vec<IpAddr>> = HashMap::new();
        for line in text.lines() {
            let entry = line.split_once('#').map_or(line, |(entry, _comment)| entry);
            let mut words = entry.split_ascii_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse) else { continue };
            for name in words {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                table.entry(name).or_default().push(address);
            }
        }
        Self(table)
    }

    /// The addresses of `name`, which is in lower case; `None` when it is not in the table.
    pub(super) fn get(&self, name: &str) -> Option<&[IpAddr]> {
        self.0.get(name).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_give_addresses_to_names() {
        let hosts = Hosts::parse(
            "# a comment\n10.0.0.1 Web.example web # it\n\n::1\tweb\nnonsense here\n10.0.0.2\n",
        );
        let addresses = ["10.0.0.1", "::1"].map(|text| text.parse::<IpAddr>().unwrap());
        assert_eq!(hosts.get("web"), Some(&addresses[..]));
        assert_eq!(hosts.get("web.example"), Some(&addresses[..1]));
        assert_eq!(hosts.get("here"), None);
    }
}
