//! `kubectl logs`: the access log as the gateway's Pod has it, and as Mixer had it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use tidegate_apiserver::{LogLines, LogOptions, LogSource};
use tidegate_proxy::accesslog::{Format, Logs, ReadOptions, Reader, Workload};

use super::gateway::{MIXER_CONTAINER, MIXER_POD, NAMESPACE, PROXY_CONTAINER};

/// The logs of the Pods through which the gateway shows itself.
#[derive(Debug)]
pub struct PodLogs {
    logs: Arc<Logs>,
    pod: String,
    text: Arc<Format>,
    mixer: Arc<Format>,
}

impl PodLogs {
    /// Logs for the gateway of this name; its own container's lines look like `text`.
    pub fn new(logs: Arc<Logs>, gateway: &str, text: Format) -> Self {
        let mixer = Format::mixer(Workload {
            namespace: NAMESPACE.to_owned(),
            app: gateway.to_owned(),
            pod: gateway.to_owned(),
            deployment: gateway.to_owned(),
        });
        Self { logs, pod: gateway.to_owned(), text: Arc::new(text), mixer: Arc::new(mixer) }
    }
}

impl LogSource for PodLogs {
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
