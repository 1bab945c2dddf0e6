//! Verbs that write and read objects, as guides type them under the name `istioctl`, and without kubectl.

use tidegate_testing::process::Output;

use crate::support::{Gateway, Shell};

/// What failed, in words.
fn refused(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    output.stderr
}

/// Guide 001, from its first object to its clean-up.
#[tokio::test]
async fn a_guides_objects_come_and_go() {
    let gateway = Gateway::start(&[]).await;
    let Some(shell) = Shell::with(&gateway, &[]) else { return };
    let created = shell
        .ok("cat <<EOF | istioctl create -f -
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata:
  name: httpbin-ext
spec:
  hosts:
  - httpbin.org
  ports:
  - number: 80
    name: http
    protocol: http
EOF")
        .await;
    assert_eq!(created, "serviceentry.networking.istio.io/httpbin-ext created\n");
    let created = shell
        .ok("cat <<EOF | istioctl create -f -
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata:
  name: google-ext
spec:
  hosts:
  - www.google.com
  ports:
  - number: 443
    name: https
    protocol: http
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata:
  name: google-ext
spec:
  name: www.google.com
  trafficPolicy:
    tls:
      mode: SIMPLE # initiates HTTPS when talking to www.google.com
EOF")
        .await;
    let both = "serviceentry.networking.istio.io/google-ext created\n\
                destinationrule.networking.istio.io/google-ext created\n";
    assert_eq!(created, both);
    let shown = shell.ok("istioctl get serviceentry").await;
    assert!(shown.starts_with("NAME ") && shown.contains("\nhttpbin-ext "), "{shown}");
    let deleted = shell.ok("istioctl delete ServiceEntry httpbin-ext google-ext").await;
    let both = "serviceentry.networking.istio.io \"httpbin-ext\" deleted\n\
                serviceentry.networking.istio.io \"google-ext\" deleted\n";
    assert_eq!(deleted, both);
    shell.ok("istioctl delete destinationrule google-ext").await;
    let nothing = shell.run("istioctl get se,dr").await;
    assert!(nothing.status.success() && nothing.stdout.is_empty(), "{nothing:?}");
    assert_eq!(nothing.stderr, "No resources found in default namespace.\n");
}

#[tokio::test]
async fn objects_are_applied_replaced_shown_and_described() {
    let gateway = Gateway::start(&[]).await;
    let Some(shell) = Shell::with(&gateway, &[]) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let shell = shell.at(folder.path());
    let write = |port: u16| {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: a}}\nspec:\n  selector: {{istio: x}}\n  \
             servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ['*']}}]\n"
        );
        std::fs::write(folder.path().join("a.yaml"), text).expect("written");
    };
    let word = async |script: &str| shell.ok(script).await.trim().to_owned();
    let a = "gateway.networking.istio.io/a";
    write(80);
    assert_eq!(word("tidegate apply -f a.yaml").await, format!("{a} created"));
    assert_eq!(word("tidegate apply -f a.yaml").await, format!("{a} unchanged"));
    write(81);
    assert_eq!(word("tidegate apply -f .").await, format!("{a} configured"));
    write(82);
    assert_eq!(word("tidegate replace -f a.yaml").await, format!("{a} replaced"));
    assert_eq!(word("tidegate get gw a -o name").await, a);
    let yaml = shell.ok("tidegate get gateway/a -o yaml").await;
    assert!(yaml.contains("number: 82") && !yaml.contains("managedFields"), "{yaml}");
    let json = shell.ok("tidegate get gw -o json").await;
    let list: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(list["items"][0]["spec"]["servers"][0]["port"]["number"], 82, "{json}");
    let everywhere = shell.ok("tidegate get svc,gw -A -o wide").await;
    assert!(everywhere.starts_with("NAMESPACE ") && everywhere.contains("service/kubernetes"));
    let told = shell.ok("tidegate describe gateway a").await;
    for part in ["Name:         a\n", "number: 82", "Conditions:", "Events:"] {
        assert!(told.contains(part), "no {part:?} in\n{told}");
    }

    // Another owner of the same field.
    write(83);
    let conflict = refused(shell.run("tidegate apply --field-manager other -f a.yaml").await);
    assert!(
        conflict.contains("a.yaml:6: Gateway default/a: spec.servers: conflict")
            && conflict.contains("--force-conflicts"),
        "{conflict}"
    );
    let force = "tidegate apply --field-manager other --force-conflicts -f a.yaml";
    assert_eq!(word(force).await, format!("{a} configured"));
    assert_eq!(
        word("tidegate delete -f a.yaml").await,
        "gateway.networking.istio.io \"a\" deleted"
    );
}

#[tokio::test]
async fn mistakes_are_told_with_their_place_and_a_remedy() {
    let gateway = Gateway::start(&[]).await;
    let Some(shell) = Shell::with(&gateway, &[]) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let shell = shell.at(folder.path());
    let text = "\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: good}
spec:
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: bad}
spec:
  servers: none
---
apiVersion: networking.istio.io/v1
kind: Gatway
metadata: {name: unknown}
---
kind: Gateway
";
    std::fs::write(folder.path().join("a.yaml"), text).expect("written");
    let output = shell.run("tidegate create -f a.yaml").await;
    // One that is good is there, whatever the others are.
    assert_eq!(output.stdout, "gateway.networking.istio.io/good created\n");
    let told = refused(output);
    assert_eq!(told.lines().count(), 3, "{told}");
    for part in [
        "a.yaml:11: Gateway default/bad: spec.servers",
        "a.yaml:14: ",
        "Gatway",
        "a.yaml:17: apiVersion",
    ] {
        assert!(told.contains(part), "no {part:?} in\n{told}");
    }
    let told = refused(shell.run("tidegate create -f a.yaml").await);
    assert!(told.contains("already exists") && told.contains("tidegate apply"), "{told}");
    let told = refused(shell.run("tidegate delete vs none").await);
    assert!(told.contains("\"none\" not found") && told.contains("-n NAMESPACE"), "{told}");
    shell.ok("tidegate delete vs none --ignore-not-found").await;
    let told = refused(shell.run("tidegate get gatways").await);
    assert!(told.contains("there is no kind \"gatways\""), "{told}");
    let told = refused(shell.run("tidegate create -f none.yaml").await);
    assert!(told.contains("none.yaml: No such file"), "{told}");
    let told = refused(shell.run("KUBECONFIG=/none tidegate get gw").await);
    assert!(told.contains("/none") && told.contains("--kubeconfig FILE"), "{told}");
    let told = refused(shell.run("env -u KUBECONFIG tidegate get gw").await);
    assert!(told.contains("there is no kubeconfig"), "{told}");
    // What `tidegate up` keeps in its usual folder is found.
    let usual = "mkdir -p $HOME/.local/share/tidegate && cp $KUBECONFIG $HOME/.local/share/tidegate/kubeconfig";
    shell.ok(usual).await;
    assert_eq!(
        shell.ok("env -u KUBECONFIG -u XDG_DATA_HOME tidegate get gw -o name").await,
        "gateway.networking.istio.io/good\n"
    );
}
