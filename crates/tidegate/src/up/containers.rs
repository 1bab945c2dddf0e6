//! `kubectl logs` and `kubectl exec` of the Pods through which the gateway shows itself: the access log as its own container has
//! it, and as Mixer had it; and what is asked of the admin interface there.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use tidegate_apiserver::{ContainerCommand, Containers, LogLines, LogOptions};
use tidegate_proxy::accesslog::{Format, Logs, ReadOptions, Reader, Workload};
use tidegate_proxy::admin::Admin;

use super::exec;
use super::gateway::{MIXER_CONTAINER, MIXER_POD, NAMESPACE, PROXY_CONTAINER};

/// The containers of the Pods through which the gateway shows itself.
pub struct GatewayContainers {
    logs: Arc<Logs>,
    admin: Arc<Admin>,
    pod: String,
    text: Arc<Format>,
    mixer: Arc<Format>,
}

impl GatewayContainers {
    /// Those of the gateway of this name; its own container's lines look like `text`.
    pub fn new(logs: Arc<Logs>, admin: Arc<Admin>, gateway: &str, text: Format) -> Self {
        let mixer = Format::mixer(Workload {
            namespace: NAMESPACE.to_owned(),
            app: gateway.to_owned(),
            pod: gateway.to_owned(),
            deployment: gateway.to_owned(),
        });
        Self { logs, admin, pod: gateway.to_owned(), text: Arc::new(text), mixer: Arc::new(mixer) }
    }
}

impl Containers for GatewayContainers {
    fn logs(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        options: &LogOptions,
    ) -> Option<Box<dyn LogLines>> {
        let format = match (namespace, pod, container) {
            (NAMESPACE, MIXER_POD, MIXER_CONTAINER) => &self.mixer,
            (NAMESPACE, pod, PROXY_CONTAINER) if pod == self.pod => &self.text,
            _ => return None,
        };
        let options_of_log = ReadOptions {
            tail: options.tail,
            since: options.since.map(Into::into),
            follow: options.follow,
        };
        let reader = self.logs.read(Arc::clone(format), options_of_log);
        Some(Box::new(Lines { reader, timestamps: options.timestamps }))
    }

    fn command<'a>(
        &'a self,
        namespace: &str,
        pod: &str,
        container: &str,
        words: &'a [String],
    ) -> Option<ContainerCommand<'a>> {
        let own = (namespace, pod, container) == (NAMESPACE, &*self.pod, PROXY_CONTAINER);
        own.then(|| -> ContainerCommand<'a> { Box::new(|| exec::run(&self.admin, words)) })
    }
}

struct Lines {
    reader: Reader,
    timestamps: bool,
}

impl LogLines for Lines {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Option<Bytes>> + Send + '_>> {
        Box::pin(async {
            let line = self.reader.next().await?;
            if !self.timestamps {
                return Some(line.text.into());
            }
            let time = Timestamp::from_nanosecond(line.ended.into()).unwrap_or_default();
            let mut text = format!("{time} ").into_bytes();
            text.extend(line.text);
            Some(text.into())
        })
    }
}
