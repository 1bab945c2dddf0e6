//! A request that has arrived whole.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, header};

use super::failure::Failure;
use super::query::Query;
use super::users::User;

/// What a client asks.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// Who asks; nobody where no token is needed.
    pub user: Option<Arc<User>>,
    pub method: Method,
    pub path: String,
    pub query: Query,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Whether a write is only tried; nothing is stored then.
pub(crate) type DryRun = bool;

impl Ask {
    /// All values of a header as one list.
    fn list(&self, name: header::HeaderName) -> Option<String> {
        let values: Vec<&str> =
            self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        (!values.is_empty()).then(|| values.join(","))
    }

    /// The same, of whom the client acts as (`kubectl --as`); `None` where it acts as itself.
    pub(crate) fn acting(&self) -> Result<Option<Self>, Failure> {
        let texts = |name: &str| {
            let values = self.headers.get_all(name).iter();
            values.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect::<Vec<_>>()
        };
        let (name, groups) =
            (texts("impersonate-user").into_iter().next(), texts("impersonate-group"));
        let Some(name) = name else {
            return match groups.is_empty() {
                true => Ok(None),
                false => Err(Failure::bad_request(
                    "Impersonate-Group says nothing without Impersonate-User",
                )),
            };
        };
        let asker = self.user.as_deref();
        if !asker.is_some_and(User::rules) {
            let asker = asker.map_or("system:anonymous", |user| &user.name);
            return Err(Failure::cannot_impersonate(asker, &name));
        }
        Ok(Some(Self { user: Some(Arc::new(User::named(name, groups))), ..self.clone() }))
    }

    pub(crate) fn accept(&self) -> Option<String> {
        self.list(header::ACCEPT)
    }

    pub(crate) fn content_type(&self) -> Option<&str> {
        self.headers.get(header::CONTENT_TYPE)?.to_str().ok()
    }

    /// Who writes: the `fieldManager` parameter, else the program's name from `User-Agent`.
    pub(crate) fn manager(&self) -> String {
        let agent = || {
            let agent = self.headers.get(header::USER_AGENT)?.to_str().ok()?;
            let program = agent.split(['/', ' ']).next()?;
            (!program.is_empty()).then(|| program.to_owned())
        };
        let given = self.query.get("fieldManager").map(str::to_owned);
        given.or_else(agent).unwrap_or_else(|| "unknown".into())
    }

    /// The `dryRun` parameter; `options` is what the answer calls the request's options.
    pub(crate) fn dry_run(&self, options: &str) -> Result<DryRun, Failure> {
        let values: Vec<&str> = self.query.all("dryRun").collect();
        dry_run(&values, options)
    }
}

/// `All` is the only thing that can be tried.
pub(crate) fn dry_run(values: &[&str], options: &str) -> Result<DryRun, Failure> {
    use super::failure::Cause;
    match values {
        [] => Ok(false),
        ["All"] => Ok(true),
        other => {
            let given = serde_json::json!(other);
            let cause = Cause::unsupported("dryRun", &given, &["All"]);
            Err(Failure::invalid_options(options, vec![cause]))
        }
    }
}
