//! Python's client: every verb once, as its users write it.

use tokio::process::Command;

use super::*;

/// The script, which says what it found otherwise than it should be.
const VERBS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/verbs.py");

#[tokio::test]
async fn verbs_of_the_python_client() {
    let Some(python) = Tool::KubernetesPython.need() else { return };
    let world = World::new().await;
    let mut command = Command::new(python);
    command.arg(VERBS).arg(world.kubeconfig()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await.expect("in time").expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "all good\n");
}
