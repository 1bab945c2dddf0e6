//! Which process is asked: the one that the kubeconfig leads to says where its admin interface listens.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tidegate_apiserver::rest::ADMIN_ANNOTATION;
use tidegate_apiserver::store::is_own;
use tokio::time::timeout;

use crate::api::{self, Access};
use crate::failure::{Failure, Outcome};
use crate::up::gateway::NAMESPACE;

/// Where admin interfaces listen unless they are told otherwise.
const USUAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 15000);
/// A process that serves answers in no time.
const PATIENCE: Duration = Duration::from_secs(10);

/// The admin interface of the process whose API a kubeconfig names. A kubeconfig that nobody named counts only while its
/// process answers: any proxy may have the usual address.
///
/// # Errors
/// The API does not answer, or shows no gateway that says so.
pub fn admin(given: Option<&Path>) -> Outcome<SocketAddr> {
    let ask = |path: &Path| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let asked = runtime.block_on(async { timeout(PATIENCE, told(path)).await });
        asked.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))
    };
    if let Some(path) = api::named_kubeconfig(given) {
        return ask(&path).map_err(|reason| {
            Failure::new(format!("the process of {}: {reason}", path.display()))
                .or(format!("--admin {USUAL}, or where its admin interface listens"))
        });
    }
    let usual = api::usual_kubeconfig().filter(|path| path.is_file());
    Ok(usual.and_then(|path| ask(&path).ok()).unwrap_or(USUAL))
}

async fn told(path: &Path) -> Result<SocketAddr, String> {
    let access = Access::read(path)?;
    let mut api = access.connect().await?;
    let pods = access.get(&mut api, &format!("/api/v1/namespaces/{NAMESPACE}/pods")).await?;
    let pods = pods.unwrap_or_default();
    let address =
        |pod: &Value| pod["metadata"]["annotations"][ADMIN_ANNOTATION].as_str()?.parse().ok();
    pods["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|pod| is_own(pod))
        .find_map(address)
        .ok_or_else(|| "its API shows no gateway with an admin interface".to_owned())
}
