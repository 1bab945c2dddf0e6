//! Forms of a command line that istioctl takes: flags of all verbs before the verb, and verbs behind `experimental`.

use std::ffi::OsString;

/// Flags that istioctl has for all verbs, each with a value.
const OF_ALL: &[&str] = &["--kubeconfig", "-c", "--context", "-n", "--namespace"];
/// What istioctl has verbs behind that may change.
const EXPERIMENTAL: &[&str] = &["experimental", "exp", "x"];

/// The same line with such flags behind the verb, where each verb has its own, and without `experimental`.
pub fn ordered(line: Vec<OsString>) -> Vec<OsString> {
    let mut words = line.into_iter();
    let (mut ordered, mut flags): (Vec<OsString>, Vec<OsString>) =
        (words.next().into_iter().collect(), Vec::new());
    let mut rest = words.peekable();
    while let Some(word) = rest.next_if(is_of_all) {
        let has_value =
            word.to_str().is_some_and(|word| word.starts_with("--") && word.contains('='));
        // The short form of another flag of ours.
        flags.push(if word == "-c" { "--kubeconfig".into() } else { word });
        if !has_value {
            flags.extend(rest.next());
        }
    }
    rest.next_if(|word| EXPERIMENTAL.iter().any(|it| word == it));
    let rest: Vec<OsString> = rest.collect();
    // What comes behind -- is a command's own.
    let end = rest.iter().position(|word| word == "--").unwrap_or(rest.len());
    ordered.extend(rest[..end].iter().cloned().chain(flags).chain(rest[end..].iter().cloned()));
    ordered
}

fn is_of_all(word: &OsString) -> bool {
    let name = word.to_str().map(|word| word.split_once('=').map_or(word, |(name, _)| name));
    name.is_some_and(|name| OF_ALL.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_before_the_verb_are_those_of_the_verb() {
        for (line, wanted) in [
            ("istioctl --kubeconfig F get vs", "istioctl get vs --kubeconfig F"),
            ("istioctl -c F -n shop get vs -A", "istioctl get vs -A --kubeconfig F -n shop"),
            (
                "t --context=c --namespace=n run -- sh -n x",
                "t run --context=c --namespace=n -- sh -n x",
            ),
            ("istioctl x describe vs a", "istioctl describe vs a"),
            ("istioctl --context c experimental ps", "istioctl ps --context c"),
            ("istioctl get -n a vs", "istioctl get -n a vs"),
            ("istioctl --version", "istioctl --version"),
            ("istioctl --kubeconfig", "istioctl --kubeconfig"),
            ("istioctl", "istioctl"),
        ] {
            let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
            assert_eq!(ordered(words(line)), words(wanted), "{line}");
        }
    }
}
