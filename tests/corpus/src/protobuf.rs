//! Bodies in protobuf as kubectl sent them, byte by byte. What the server makes of one is held against what kubectl says of
//! the same command in JSON.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::Value;
use tidegate_testing::tools::Tool;

use crate::cases::{Tally, Verdict};
use crate::server::Server;

/// A request and the status of its answer.
#[derive(Deserialize)]
struct Case {
    command: String,
    path: String,
    content_type: String,
    accept: String,
    body_base64: String,
    response_status: u16,
}

/// Sends all bodies.
pub fn run(folder: &Path) -> Result<Tally> {
    let server = Server::before_us()?;
    let text = std::fs::read_to_string(folder.join("protobuf-requests.json"))?;
    let cases: Vec<Case> = serde_json::from_str(&text)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut tally = Tally::default();
    for case in cases {
        let verdict = match BASE64.decode(&case.body_base64) {
            Ok(body) => runtime.block_on(case.judged(&server, body)),
            // The recording left it out.
            Err(_) => Ok(Verdict::Skipped),
        };
        let verdict = verdict.unwrap_or_else(|error| Verdict::Failed(format!("{error:#}")));
        tally.add(&case.command, verdict);
    }
    Ok(tally)
}

impl Case {
    async fn judged(&self, server: &Server, body: Vec<u8>) -> Result<Verdict> {
        let Self { path, content_type, accept, .. } = self;
        let headers = format!(
            "authorization: Bearer {}\r\naccept: {accept}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n",
            server.token,
            body.len()
        );
        let answer = server.send(&format!("POST {path}"), &headers, body, false).await?;
        if answer.status != self.response_status {
            let (ours, theirs) = (answer.status, self.response_status);
            return Ok(Verdict::Failed(format!("status {ours} for {theirs}: {}", answer.text())));
        }
        let missing = self.meant()?.as_ref().and_then(|meant| missing(meant, &answer.json(), ""));
        Ok(missing.map_or(Verdict::Passed, Verdict::Failed))
    }

    /// What a command means to make. Of reviews kubectl does not say it.
    fn meant(&self) -> Result<Option<Value>> {
        if !self.command.starts_with("kubectl create ") {
            return Ok(None);
        }
        let kubectl = Tool::Kubectl.find().context("no kubectl")?;
        let mut command = Command::new(kubectl);
        command.args(self.command.split(' ').skip(1)).args(["--dry-run=client", "--output=json"]);
        let output = command.output()?;
        if !output.status.success() {
            bail!("kubectl does not say it: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(Some(serde_json::from_slice(&output.stdout)?))
    }
}

/// What is not there of what was meant. A field that is empty need not be.
fn missing(meant: &Value, there: &Value, path: &str) -> Option<String> {
    match (meant, there) {
        (Value::Null, _) => None,
        (Value::Object(fields), _) => fields
            .iter()
            .find_map(|(name, value)| missing(value, &there[name], &format!("{path}.{name}"))),
        (Value::Array(items), Value::Array(others)) if items.len() == others.len() => {
            let pairs = items.iter().zip(others).enumerate();
            let mut pairs =
                pairs.map(|(n, (item, other))| missing(item, other, &format!("{path}[{n}]")));
            pairs.find_map(|missing| missing)
        }
        _ => (meant != there).then(|| format!("{path} is {there} for {meant}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_that_was_meant_has_to_be_there() {
        let meant = json!({"metadata": {"name": "a", "creationTimestamp": null}, "spec": {"ports": [{"port": 80}]}, "status": {}});
        let made = json!({"metadata": {"name": "a", "uid": "u"}, "spec": {"ports": [{"port": 80, "protocol": "TCP"}]}});
        assert_eq!(missing(&meant, &made, ""), None);
        for change in crate::changes::of(&json!({"spec": {"ports": [{"port": 80}]}})) {
            assert!(missing(&change.1, &made, "").is_some(), "{change:?}");
        }
    }
}
