//! The README's first five minutes, typed as they stand there.

use std::fs;

use tidegate_testing::tools::Tool;
use tidegate_testing::{PATIENCE, eventually};

use crate::support::{Gateway, Shell};

/// Code blocks of a section: language and text.
fn blocks(markdown: &str, section: &str) -> Vec<(String, String)> {
    let start = markdown.find(&format!("## {section}\n")).expect("the section");
    let rest = &markdown[start + 3..];
    let section = &rest[..rest.find("\n## ").unwrap_or(rest.len())];
    let mut parts = section.split("```").skip(1).step_by(2);
    std::iter::from_fn(|| parts.next()?.split_once('\n'))
        .map(|(language, text)| (language.to_owned(), text.to_owned()))
        .collect()
}

#[tokio::test]
async fn the_first_five_minutes_work() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let readme = fs::read_to_string(readme).expect("the README");
    let blocks = blocks(&readme, "The first five minutes");
    let scripts: Vec<&str> = blocks
        .iter()
        .filter(|(language, _)| language == "bash")
        .map(|(_, text)| text.as_str())
        .collect();
    let shown = |text: &str| blocks.iter().any(|(language, t)| language == "text" && t == text);
    let [apply, tls, look] = scripts[..] else { panic!("three scripts, not {scripts:?}") };

    let gateway = Gateway::start(&["--demo"]).await;
    let Some(shell) = Shell::with(&gateway, &[Tool::Kubectl, Tool::Curl]) else { return };
    let admin = format!("proxy-config routes --admin {}", gateway.admin);
    let (apply, curl) = apply.trim_end().rsplit_once('\n').expect("two lines");
    shell.ok(apply).await;
    gateway.answers("httpbin.org", "/status/418", 418).await;
    let teapot = shell.ok(curl).await;
    assert!(shown(&teapot), "{teapot}");
    eventually(PATIENCE, || async { shell.ok(tls).await.trim() == "<title>Google</title>" }).await;
    let listeners = format!("tidegate proxy-config listeners --admin {}", gateway.admin);
    let listeners = shell.ok(&listeners).await;
    assert!(listeners.contains("SNI: www.google.com"), "{listeners}");
    let look = shell.ok(&look.replace("proxy-config routes", &admin)).await;
    for text in [
        "GET /status/418",
        "Programmed",
        "/status*",
        "VirtualService default/front-proxy http[0].match[0]",
        "front-proxy.default",
        "\"front-proxy\" deleted",
    ] {
        assert!(look.contains(text), "{text} is not in\n{look}");
    }
}
