//! Trust domains of a mesh that has several (`trustDomain` and `trustDomainAliases` of the mesh config): whoever is of one of them is
//! treated as of any other.

/// What stands in policies for the trust domain of the mesh, whatever that is.
const LOCAL: &str = "cluster.local";

/// The identities that one in a policy stands for, `TRUSTDOMAIN/ns/NAMESPACE/sa/ACCOUNT`: the same in each trust domain of
/// the mesh where it names one of them, and itself otherwise.
pub(super) fn of_identity(identity: &str, domains: &[String]) -> Vec<String> {
    let as_it_is = || vec![identity.to_owned()];
    let Some((domain, rest)) = identity.split_once('/') else { return as_it_is() };
    // What is not of this form, and what is of any trust domain, names none.
    if rest.split('/').count() != 4 || domain == "*" {
        return as_it_is();
    }
    if domains.is_empty() || domain != LOCAL && !domains.iter().any(|own| fits(own, domain)) {
        return as_it_is();
    }
    let mut all: Vec<String> = Vec::with_capacity(domains.len());
    for own in domains {
        // A pattern that fits stays, and covers whoever else it fits.
        let by_suffix = domain.strip_prefix('*').is_some_and(|suffix| own.ends_with(suffix));
        let name = if by_suffix { identity.to_owned() } else { format!("{own}/{rest}") };
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

/// The trust domains that one in a policy stands for.
pub(super) fn of_domain(domain: &str, domains: &[String]) -> Vec<String> {
    if domains.iter().any(|own| own == domain) { domains.to_vec() } else { vec![domain.to_owned()] }
}

/// Whether a trust domain is as the pattern says: exact, `prefix*` or `*suffix`.
fn fits(domain: &str, pattern: &str) -> bool {
    let prefix = pattern.strip_suffix('*').is_some_and(|prefix| domain.starts_with(prefix));
    let suffix = pattern.strip_prefix('*').is_some_and(|suffix| domain.ends_with(suffix));
    domain == pattern || prefix || suffix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trust_domain_of_the_mesh_stands_for_all_of_them() {
        let mesh = ["new.td".to_owned(), "old.td".to_owned()];
        for (identity, domains, expected) in [
            ("new.td/ns/a/sa/b", &mesh[..], &["new.td/ns/a/sa/b", "old.td/ns/a/sa/b"][..]),
            ("old.td/ns/a/sa/b", &mesh, &["new.td/ns/a/sa/b", "old.td/ns/a/sa/b"]),
            ("cluster.local/ns/a/sa/b", &mesh, &["new.td/ns/a/sa/b", "old.td/ns/a/sa/b"]),
            ("other/ns/a/sa/b", &mesh, &["other/ns/a/sa/b"]),
            ("*/ns/a/sa/b", &mesh, &["*/ns/a/sa/b"]),
            ("*.td/ns/a/sa/b", &mesh, &["*.td/ns/a/sa/b"]),
            ("*w.td/ns/a/sa/b", &mesh, &["*w.td/ns/a/sa/b", "old.td/ns/a/sa/b"]),
            ("new*/ns/a/sa/b", &mesh, &["new.td/ns/a/sa/b", "old.td/ns/a/sa/b"]),
            ("*", &mesh, &["*"]),
            ("new.td/ns/*", &mesh, &["new.td/ns/*"]),
            ("cluster.local/ns/a/sa/b", &[], &["cluster.local/ns/a/sa/b"]),
        ] {
            assert_eq!(of_identity(identity, domains), expected, "{identity} of {domains:?}");
        }
        assert_eq!(of_domain("old.td", &mesh), mesh);
        assert_eq!(of_domain("other", &mesh), ["other"]);
        assert_eq!(of_domain("*", &mesh), ["*"]);
    }
}
