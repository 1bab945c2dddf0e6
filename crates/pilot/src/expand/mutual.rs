//! By which name a gateway is asked for a host in mutual TLS, and the subset of the gateway's Service that says so.
//!
//! Both follow from the host alone: ServiceEntries of one host, whoever they are of, have subsets of one name that say the same.

use crate::model::auto_address::fnv1a;

/// Most bytes of a subset's name (RFC 1123).
const MOST: usize = 63;

/// The name that the gateway is asked by. Its servers know a wildcard by any name under it.
pub(super) fn server_name(host: &str) -> String {
    host.strip_prefix('*').map_or_else(|| host.to_owned(), |rest| format!("any{rest}"))
}

/// The name of the subset. No two server names share one: hyphens are doubled, and dots, which hyphens are never beside, become
/// single ones. What is too long ends in a hash.
pub(super) fn subset(host: &str) -> String {
    let server_name = server_name(host);
    let name = server_name.replace('-', "--").replace('.', "-");
    if name.len() <= MOST {
        return name;
    }
    let start: String = name.chars().take(MOST - 9).collect();
    format!("{start}-{:08x}", fnv1a(&[server_name.as_bytes()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_a_subset_of_its_own() {
        assert_eq!(subset("books.example.com"), "books-example-com");
        assert_eq!(subset("*.example.com"), "any-example-com");
        assert_eq!(server_name("*.example.com"), "any.example.com");
        assert_ne!(subset("a-b.c"), subset("a.b-c"));
        assert_ne!(subset("a.b.c"), subset("a-b-c"));
        let long = |last: &str| format!("{}.{}.{last}", "a".repeat(60), "b".repeat(60));
        assert_ne!(subset(&long("com")), subset(&long("org")));
        for name in [long("com"), "a-b.c".to_owned(), format!("{}.c", "-".repeat(40))] {
            assert!(subset(&name).len() <= MOST, "{name}");
        }
    }
}
