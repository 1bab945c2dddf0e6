//! What is said in the log of a sidecar of certificates, keys and authorities that are not there: nobody else tells it beside a workload
//! before a connection fails.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustix::process::geteuid;
use tokio::time::Instant;

use super::notices::SETTLED_AFTER;

/// Secrets that somebody needs and that are not there.
#[derive(Debug, Default)]
pub struct Lacks(BTreeMap<Arc<str>, Lack>);

#[derive(Debug)]
struct Lack {
    why: String,
    /// When it is to be told; nothing once it has been.
    due: Option<Instant>,
}

impl Lacks {
    /// Takes in what is lacking of these secrets, `None` where nothing is any more; answers those that are there again of which it
    /// was told that they are not. What nobody needs is not told.
    pub fn learn(
        &mut self,
        now: Instant,
        news: &[(Arc<str>, Option<String>)],
        needed: impl Fn(&str) -> bool,
    ) -> Vec<Arc<str>> {
        let mut mended = Vec::new();
        for (name, why) in news {
            if why.is_some() && !needed(name) {
                self.0.remove(name);
                continue;
            }
            let before = self.0.get(name);
            let Some(why) = why else {
                let told = self.0.remove(name).is_some_and(|before| before.due.is_none());
                mended.extend(told.then(|| Arc::clone(name)));
                continue;
            };
            if before.is_none_or(|before| before.why != *why) {
                // What has just been named is not read yet.
                let due = before.and_then(|before| before.due).unwrap_or(now + SETTLED_AFTER);
                let lack = Lack { why: why.clone(), due: Some(due) };
                self.0.insert(Arc::clone(name), lack);
            }
        }
        mended
    }

    /// When something is to be told next.
    pub fn next(&self) -> Option<Instant> {
        self.0.values().filter_map(|lack| lack.due).min()
    }

    /// What is to be told now, each reason once.
    pub fn settled(&mut self, now: Instant) -> Vec<String> {
        let mut told = Vec::new();
        for lack in self.0.values_mut().filter(|lack| lack.due.is_some_and(|due| due <= now)) {
            lack.due = None;
            if !told.contains(&lack.why) {
                told.push(lack.why.clone());
            }
        }
        told
    }
}

/// A reason, with what follows from it and what helps against it.
pub fn in_words(why: &str) -> String {
    let follows = "connections that need it fail (503) until it is there";
    match why.contains("ermission denied") {
        false => format!("{why}; {follows}"),
        true => format!(
            "{why}; {follows}: the sidecar is user {}, which has to be able to read it (chgrp and chmod g+r, or --run-as 0:1337)",
            geteuid().as_raw()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_lacking_is_told_once_and_again_when_its_reason_changes() {
        let start = Instant::now();
        let later = start + SETTLED_AFTER;
        let mut lacks = Lacks::default();
        let news = |name: &str, why: Option<&str>| [(Arc::from(name), why.map(str::to_owned))];
        lacks.learn(start, &news("a", Some("not read")), |_| true);
        lacks.learn(start, &news("b", Some("not read")), |_| true);
        assert!(lacks.learn(start, &news("b", None), |_| true).is_empty(), "nobody was told");
        assert_eq!(lacks.settled(start), [""; 0]);
        lacks.learn(start, &news("a", Some("denied")), |_| true);
        assert_eq!(lacks.next(), Some(later));
        assert_eq!(lacks.settled(later), ["denied"]);
        lacks.learn(later, &news("a", Some("denied")), |_| true);
        assert_eq!(lacks.next(), None);
        lacks.learn(later, &news("a", Some("gone")), |_| true);
        assert_eq!(lacks.settled(later + SETTLED_AFTER), ["gone"]);
        assert_eq!(lacks.learn(later, &news("a", None), |_| true), ["a".into()]);
    }

    #[test]
    fn a_file_that_may_not_be_read_is_told_with_the_user_and_the_remedy() {
        let told = in_words("file /a.key cannot be read: Permission denied (os error 13)");
        let user = format!("the sidecar is user {}", geteuid().as_raw());
        assert!(told.contains(&user) && told.contains("--run-as 0:1337"), "{told}");
        assert!(!in_words("there is no Secret a").contains("user"));
    }
}
