//! Asking an API server.

use std::cell::RefCell;
use std::collections::BTreeSet;

use http::Method;
use serde_json::Value;
use tidegate_source::cluster::{Answer, Ask, Client};

use crate::api;
use crate::cli::ServerArgs;
use crate::failure::{Failure, Outcome};
use crate::terminal;

/// An API server.
#[derive(Debug)]
pub struct Server {
    client: Client,
    namespace: String,
    /// Warnings that were said already.
    warned: RefCell<BTreeSet<String>>,
}

/// Why an API server refuses something.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The status of the answer.
    pub code: u16,
    /// What it says.
    pub message: String,
    /// The fields that it is about, with what is wrong with each.
    pub causes: Vec<(String, String)>,
}

impl Server {
    /// The server that flags or the environment say.
    ///
    /// # Errors
    /// There is no kubeconfig, or it is wrong.
    pub async fn of(args: &ServerArgs) -> Outcome<Self> {
        let client = api::client(&args.access).await?;
        let namespace = args.namespace.clone().unwrap_or_else(|| client.namespace().to_owned());
        Ok(Self { client, namespace, warned: RefCell::default() })
    }

    /// The namespace of what names none.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Sends a request; what the server warns of is said, each once.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn ask(&self, ask: Ask<'_>) -> Outcome<Answer> {
        let answer = self.client.send(ask).await.map_err(|why| {
            Failure::new(why)
                .or("tidegate up, if no API server runs")
                .or("--kubeconfig FILE or --context NAME, for another one")
        })?;
        for warning in &answer.warnings {
            if self.warned.borrow_mut().insert(warning.clone()) {
                terminal::say(format_args!("Warning: {warning}"));
            }
        }
        Ok(answer)
    }

    /// What is at a path, or why it is not to be had.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn get(&self, path: &str) -> Outcome<Result<Value, Refusal>> {
        self.ask(Ask::new(Method::GET, path)).await.map(object)
    }
}

/// The object in an answer, or what it says instead.
pub fn object(answer: Answer) -> Result<Value, Refusal> {
    if answer.status.is_success() {
        return Ok(answer.body);
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let causes = answer.body["details"]["causes"].as_array().into_iter().flatten();
    let causes = causes.map(|cause| (text(&cause["field"]), text(&cause["message"])));
    let message = match text(&answer.body["message"]) {
        empty if empty.is_empty() => answer.status.to_string(),
        message => message,
    };
    Err(Refusal { code: answer.status.as_u16(), message, causes: causes.collect() })
}

impl Refusal {
    /// As a failure without a place.
    pub fn failure(&self) -> Failure {
        Failure::new(self.message.clone())
    }
}
