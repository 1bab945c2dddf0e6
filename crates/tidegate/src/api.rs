//! Which API server a verb asks, and as whom: one rule for all of them.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value;
use tidegate_api::KindInfo;
use tidegate_source::cluster::{self, Access, AccessError, Ask, Client};

use crate::cli::AccessArgs;
use crate::data_dir;
use crate::failure::{Failure, Outcome};

/// The server that flags or the environment say; else that of the usual data folder.
///
/// # Errors
/// There is no kubeconfig.
pub fn access(args: &AccessArgs) -> Outcome<Access> {
    let usual = data_dir::usual().map(|folder| folder.join("kubeconfig"));
    Access::find(args.kubeconfig.as_deref(), args.context.as_deref(), usual.as_deref())
        .map_err(|error| failure(&error))
}

/// A client for it.
///
/// # Errors
/// There is no kubeconfig, or it is wrong.
pub async fn client(args: &AccessArgs) -> Outcome<Client> {
    access(args)?.client().await.map_err(|error| failure(&error))
}

/// Why there is no client, for the person at the terminal.
pub fn failure(error: &AccessError) -> Failure {
    Failure::new(error.to_string()).or(error.remedy)
}

/// Runs something that waits for others, for at most `patience`.
///
/// # Errors
/// It fails, or takes longer.
pub fn wait<T>(patience: Duration, asked: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format!("no runtime: {error}")))?;
    let asked = runtime.block_on(async { tokio::time::timeout(patience, asked).await });
    let late = || Failure::new(format!("no answer within {} s", patience.as_secs()));
    asked.unwrap_or_else(|_| Err(late()))
}

/// What a server has of a kind, or of anything else.
#[derive(Clone, Debug, PartialEq)]
pub enum Had {
    /// It is there.
    There(Value),
    /// There is nothing at the path.
    Nothing,
    /// Whoever asks may not read it: why, in words.
    Forbidden(String),
}

/// What is at a path.
///
/// # Errors
/// No answer, or a refusal, in words.
pub async fn get(client: &Client, path: &str) -> Result<Had, String> {
    let answer = client.send(Ask::new(Method::GET, path)).await?;
    match answer.status {
        status if status.is_success() => Ok(Had::There(answer.body)),
        StatusCode::NOT_FOUND => Ok(Had::Nothing),
        StatusCode::FORBIDDEN => Ok(Had::Forbidden(answer.refusal())),
        _ => Err(format!("{path}: {}", answer.refusal())),
    }
}

/// Every object of a kind, in the newest of its versions that the server serves, and that version.
///
/// # Errors
/// No answer, or a refusal, in words.
pub async fn list(client: &Client, info: &KindInfo) -> Result<(&'static str, Had), String> {
    let mut last = "";
    for &version in info.versions {
        let path = cluster::path((info.group, version), info.plural, None, None);
        match get(client, &path).await? {
            Had::Nothing => last = version,
            had => return Ok((version, had)),
        }
    }
    Ok((last, Had::Nothing))
}
