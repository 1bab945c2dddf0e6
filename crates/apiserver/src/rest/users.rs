//! Who asks, and what they may do: the user of the kubeconfig, and those of a file of tokens (`--api-token-file`).
//!
//! The file is as Kubernetes' static token file: lines of `TOKEN,USER,UID` and, if there are any, groups as a fourth value
//! in quotes. Groups say what a user may do: everything in `system:masters`, reading what is no secret in [`VIEW`], what a gateway
//! or sidecar of a namespace has to in a group that begins with [`PROXY`]; in none, nothing but asking what there is and who they are.

use std::fs;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use tidegate_api::{Kind, KindInfo};

use super::limits::Pace;
use super::router::Verb;

/// The user of the kubeconfig that the server writes.
const ADMIN: &str = "admin";

/// The group whose members may do everything.
const MASTERS: &str = "system:masters";
/// The group whose members may read all but Secrets.
pub(crate) const VIEW: &str = "tidegate:view";
/// What the groups of gateways and sidecars that run elsewhere begin with; the namespace follows in which they run.
pub(crate) const PROXY: &str = "tidegate:proxy:";
/// Fewer characters can be guessed.
const SHORTEST: usize = 16;
/// Users of a file; each is looked at with each request.
const MOST: usize = 1_000;

/// Somebody whose token is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub name: String,
    pub groups: Vec<String>,
}

impl User {
    /// The user of the kubeconfig.
    pub(crate) fn admin() -> Self {
        Self { name: ADMIN.to_owned(), groups: vec![MASTERS.to_owned()] }
    }

    /// Somebody of a name and groups that are said; the kubeconfig's user has that one's groups, where none are.
    pub(crate) fn named(name: String, groups: Vec<String>) -> Self {
        match name == ADMIN && groups.is_empty() {
            true => Self::admin(),
            false => Self { name, groups },
        }
    }

    fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// Whether they may do everything, acting as others too.
    pub(crate) fn rules(&self) -> bool {
        self.is_in(MASTERS)
    }

    /// Whether they may read all but Secrets.
    pub(crate) fn looks(&self) -> bool {
        self.rules() || self.is_in(VIEW)
    }

    /// Whether they may do this.
    pub(crate) fn may(&self, right: &Right<'_>) -> bool {
        let mut proxies = self.groups.iter().filter_map(|group| group.strip_prefix(PROXY));
        self.rules()
            || (self.is_in(VIEW) && right.is_a_look())
            || proxies.any(|namespace| right.is_of_proxies(namespace))
    }
}

/// Something that can be done with objects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Right<'a> {
    pub verb: Verb,
    pub info: &'a KindInfo,
    /// The part of the object that it is about.
    pub subresource: Option<&'a str>,
    /// The namespace that it is about; none for all of them, and where a kind has none.
    pub namespace: Option<&'a str>,
}

impl Right<'_> {
    fn reads(&self) -> bool {
        matches!(self.verb, Verb::Get | Verb::List | Verb::Watch)
    }

    /// Whether nothing changes by it and no secret is told: what runs in a Pod is not only read.
    fn is_a_look(&self) -> bool {
        let runs = matches!(self.subresource, Some("exec" | "attach" | "portforward"));
        self.reads() && self.info.kind != Kind::Secret && !runs
    }

    /// Whether gateways and sidecars of a namespace do it: they read what they are configured by, say what became of it, and keep
    /// in their namespace what stands for themselves.
    fn is_of_proxies(&self, namespace: &str) -> bool {
        let own = self.namespace == Some(namespace);
        let writes = matches!(self.verb, Verb::Create | Verb::Update | Verb::Patch);
        self.is_a_look()
            || match (self.info.kind, self.subresource) {
                (Kind::Secret, None) => own && self.reads(),
                (Kind::Lease, None) => own && writes,
                (Kind::Pod, None) => own && (writes || self.verb == Verb::Delete),
                (Kind::Pod, Some("log" | "egress")) => own && self.verb == Verb::Create,
                (Kind::Pod, Some("status")) => own && writes,
                (Kind::Event, None) => matches!(self.verb, Verb::Create | Verb::Patch),
                (_, Some("status")) => self.info.compiled && self.verb == Verb::Patch,
                _ => false,
            }
    }
}

/// All users, by their tokens.
pub(crate) struct Users(Vec<Known>);

/// A user, as one of their tokens shows them.
#[derive(Debug)]
pub(crate) struct Known {
    token: String,
    pub user: Arc<User>,
    /// How often they ask, by whichever token.
    pub pace: Arc<Pace>,
}

impl Users {
    /// The user of the kubeconfig, and those of a file if there is one. Each may ask as often as `requests` says.
    ///
    /// # Errors
    /// The file cannot be read, is open to others, names nobody, or a line of it says nothing that counts; in words.
    pub(crate) fn new(
        token: String,
        file: Option<&Path>,
        requests: NonZeroU32,
    ) -> Result<Self, String> {
        let pace = || Arc::new(Pace::new(requests));
        let mut users = vec![Known { token, user: Arc::new(User::admin()), pace: pace() }];
        if let Some(file) = file {
            let named = |reason: String| format!("{}: {reason}", file.display());
            let private = |mode: u32| mode & 0o007 == 0;
            let mode = fs::metadata(file).map_err(|error| named(error.to_string()))?.permissions();
            if !private(mode.mode()) {
                return Err(named("everybody on this machine may read it; chmod 600".to_owned()));
            }
            let text = fs::read_to_string(file).map_err(|error| named(error.to_string()))?;
            for (number, line) in text.lines().enumerate() {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let at = |reason: &str| format!("{}:{}: {reason}", file.display(), number + 1);
                let (token, user) = read(line).map_err(|reason| at(&reason))?;
                if users.iter().any(|known| known.token == token) {
                    return Err(at("this token is somebody's already"));
                }
                let same = users.iter().find(|known| known.user.name == user.name);
                let pace = same.map_or_else(pace, |same| Arc::clone(&same.pace));
                users.push(Known { token, user: Arc::new(user), pace });
            }
            if users.len() == 1 {
                return Err(named("it names nobody".to_owned()));
            }
            if users.len() > MOST {
                return Err(named(format!("more than {MOST} users")));
            }
        }
        Ok(Self(users))
    }

    /// Whose token `Authorization` carries. Takes as long for a near miss as for any other.
    pub(crate) fn of(&self, authorization: Option<&[u8]>) -> Option<&Known> {
        let given = authorization.and_then(|value| {
            let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
        })?;
        let mut found = None;
        for known in &self.0 {
            if same(given, known.token.as_bytes()) {
                found = Some(known);
            }
        }
        found
    }
}

fn same(given: &[u8], token: &[u8]) -> bool {
    let mut difference = given.len() ^ token.len();
    for (index, byte) in token.iter().enumerate() {
        let other = given.get(index).copied().unwrap_or_default();
        difference |= usize::from(black_box(byte ^ other));
    }
    difference == 0
}

/// A line of a file of tokens.
fn read(line: &str) -> Result<(String, User), String> {
    let (values, groups) = match line.split_once(",\"") {
        Some((values, groups)) => {
            (values, groups.strip_suffix('"').ok_or("a quote is not closed")?)
        }
        None => (line, ""),
    };
    let values: Vec<&str> = values.split(',').map(str::trim).collect();
    let (token, name, groups) = match values.as_slice() {
        [token, name, _uid] => (token, name, groups),
        [token, name, _uid, group] if groups.is_empty() => (token, name, *group),
        _ => return Err("a line is TOKEN,USER,UID or TOKEN,USER,UID,\"GROUP,GROUP\"".to_owned()),
    };
    if token.len() < SHORTEST {
        return Err(format!("a token of fewer than {SHORTEST} characters can be guessed"));
    }
    if name.is_empty() || *name == ADMIN {
        return Err(format!("a user has a name, and it is not {ADMIN:?}, the kubeconfig's user"));
    }
    let groups = groups.split(',').map(str::trim).filter(|group| !group.is_empty());
    let groups = groups.map(str::to_owned).collect();
    Ok(((*token).to_owned(), User { name: (*name).to_owned(), groups }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(text: &str, mode: u32) -> Result<Users, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tokens");
        fs::write(&file, text).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("a mode");
        let requests = NonZeroU32::new(1).expect("some");
        Users::new("the-token-of-the-kubeconfig".to_owned(), Some(&file), requests)
    }

    #[test]
    fn a_file_says_whose_a_token_is() {
        let text = "# people\n0123456789abcdef,ann,1,\"system:masters,others\"\n\
                    0123456789abcdeg, bob ,2,tidegate:view\n0123456789abcdeh,eve,3\n0123456789abcdei,eve,3\n";
        let users = users(text, 0o600).expect("good");
        let known = |token: &str| users.of(Some(format!("Bearer {token}").as_bytes()));
        let who = |token: &str| known(token).map(|known| Arc::clone(&known.user));
        let name = |token: &str| who(token).map(|user| user.name.clone());
        assert_eq!(name("the-token-of-the-kubeconfig").as_deref(), Some(ADMIN));
        let ann = who("0123456789abcdef").expect("known");
        assert_eq!(ann.groups, ["system:masters", "others"]);
        let (bob, eve) = (who("0123456789abcdeg").expect("known"), who("0123456789abcdeh"));
        let eve = eve.expect("known");
        let (service, secret) = (Kind::Service.info(), Kind::Secret.info());
        let pod = Kind::Pod.info();
        for (user, verb, info, part, may) in [
            (&ann, Verb::Delete, secret, None, true),
            (&bob, Verb::Watch, service, None, true),
            (&bob, Verb::Get, secret, None, false),
            (&bob, Verb::Patch, service, None, false),
            (&bob, Verb::Get, pod, Some("log"), true),
            (&bob, Verb::Get, pod, Some("exec"), false),
            (&eve, Verb::Get, service, None, false),
        ] {
            let right = Right { verb, info, subresource: part, namespace: Some("default") };
            assert_eq!(user.may(&right), may, "{} {verb:?} {}", user.name, info.name);
        }
        assert!(users.of(Some(b"bearer 0123456789abcdef")).is_some(), "a scheme has no case");
        let pace = |token| known(token).map(|known| Arc::as_ptr(&known.pace));
        assert_eq!(pace("0123456789abcdeh"), pace("0123456789abcdei"), "one user of two tokens");
        assert_ne!(pace("0123456789abcdeg"), pace("0123456789abcdeh"));
        for token in ["", "0123456789abcde", "0123456789abcdefg", "0123456789abcdex"] {
            assert_eq!(name(token), None, "{token}");
        }
        assert!(users.of(None).is_none());
        assert!(users.of(Some(b"Basic 0123456789abcdef")).is_none());
    }

    /// A gateway or a sidecar elsewhere is not to be able to do more than those in a cluster.
    #[test]
    fn proxies_may_do_what_they_have_to_in_their_namespace() {
        let groups = vec!["tidegate:proxy:edge".to_owned()];
        let proxy = User { name: "gateway".to_owned(), groups };
        for (verb, kind, subresource, namespace, may) in [
            (Verb::Watch, Kind::VirtualService, None, None, true),
            (Verb::Update, Kind::VirtualService, None, Some("edge"), false),
            (Verb::Patch, Kind::VirtualService, Some("status"), Some("shop"), true),
            (Verb::Patch, Kind::Deployment, Some("status"), Some("edge"), false),
            (Verb::List, Kind::Secret, None, Some("edge"), true),
            (Verb::List, Kind::Secret, None, Some("shop"), false),
            (Verb::List, Kind::Secret, None, None, false),
            (Verb::Update, Kind::Secret, None, Some("edge"), false),
            (Verb::Update, Kind::Lease, None, Some("edge"), true),
            (Verb::Update, Kind::Lease, None, Some("shop"), false),
            (Verb::Create, Kind::Event, None, Some("shop"), true),
            (Verb::Delete, Kind::Event, None, Some("edge"), false),
            (Verb::Create, Kind::Pod, None, Some("edge"), true),
            (Verb::Create, Kind::Pod, Some("log"), Some("edge"), true),
            (Verb::Create, Kind::Pod, Some("log"), Some("shop"), false),
            (Verb::Create, Kind::Pod, Some("exec"), Some("edge"), false),
            (Verb::Delete, Kind::Namespace, None, None, false),
        ] {
            let right = Right { verb, info: kind.info(), subresource, namespace };
            assert_eq!(proxy.may(&right), may, "{right:?}");
        }
        let nowhere = User { name: "x".to_owned(), groups: vec![PROXY.to_owned()] };
        let (verb, info) = (Verb::List, Kind::Secret.info());
        for namespace in [None, Some("edge")] {
            assert!(!nowhere.may(&Right { verb, info, subresource: None, namespace }));
        }
    }

    #[test]
    fn what_is_no_good_is_told_by_its_line() {
        let good = "0123456789abcdef,ann,1";
        for (text, mode, why) in [
            (good, 0o644, "chmod 600"),
            ("# nobody yet\n", 0o600, "it names nobody"),
            ("short,ann,1", 0o600, ":1: a token of fewer than 16"),
            ("\n0123456789abcdef", 0o600, ":2: a line is TOKEN,USER,UID"),
            ("0123456789abcdef,admin,1", 0o600, "it is not \"admin\""),
            ("0123456789abcdef,ann,1,\"a", 0o600, "a quote is not closed"),
            (&*format!("{good}\n{good}"), 0o600, ":2: this token is somebody's"),
            ("the-token-of-the-kubeconfig,ann,1", 0o600, "this token is somebody's"),
        ] {
            let told = users(text, mode).err().expect(text);
            assert!(told.contains(why), "{text}: {told}");
        }
    }
}
