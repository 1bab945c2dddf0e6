//! Orders from outside while the process serves, and from the first that ends it to its end: drain in order, end
//! at once when asked twice.

use std::time::Duration;

use tidegate_proxy::view::Request;
use tokio::sync::mpsc;

use crate::data_plane::DataPlane;
use crate::failure::{Failure, Outcome};
use crate::signals::{Signal, Signals};

/// How long connections may take to finish. In the words of Envoy, the drain time.
pub const GRACE: Duration = Duration::from_secs(30);

/// Serves until the process is told to end, then lets connections finish, then runs `finish`.
///
/// # Errors
/// A second signal came before that was done, or the data plane ended by itself.
pub async fn serve(
    data_plane: &mut DataPlane,
    signals: &mut Signals,
    finish: impl Future<Output = ()>,
) -> Outcome<()> {
    let why = until_told(data_plane, signals).await?;
    tracing::info!(
        "{why}: finishing what is in flight, for at most {GRACE:?}; a second signal ends at once"
    );
    let in_order = async {
        if !data_plane.drain(GRACE).await {
            tracing::warn!("connections that had not finished within {GRACE:?} were cut");
        }
        finish.await;
    };
    tokio::select! {
        () = in_order => Ok(()),
        signal = signals.end() => {
            Err(Failure::new(format!("{signal}: ended before everything had finished")))
        }
    }
}

/// Waits until a signal or the admin interface asks for the end, and says who did.
async fn until_told(data_plane: &mut DataPlane, signals: &mut Signals) -> Outcome<String> {
    let mut requests = data_plane.view.requests();
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::User1 => {
                    data_plane.view.logs().reopen();
                    tracing::info!("{signal}: access logs reopened");
                }
                signal => return Ok(signal.to_string()),
            },
            request = next(&mut requests) => match request {
                Request::Quit => return Ok("/quitquitquit".to_owned()),
                Request::Drain(drain) => {
                    tracing::info!("/drain_listeners: {drain:?}");
                    data_plane.drain_listeners(drain).await;
                }
            },
            () = data_plane.ended.wait() => {
                data_plane.view.flush_logs().await;
                return Err(Failure::new("the data plane has ended by itself: a defect of Tidegate")
                    .or("start it again; the log above may say why"));
            }
        }
    }
}

/// The admin interface's next request; never one when somebody else gets them.
async fn next(requests: &mut Option<mpsc::UnboundedReceiver<Request>>) -> Request {
    if let Some(requests) = requests
        && let Some(request) = requests.recv().await
    {
        return request;
    }
    std::future::pending().await
}
