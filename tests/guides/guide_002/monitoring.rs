//! "Monitoring and Troubleshooting": what there is, and what the gateway says of itself.

use serde_json::Value;
use tidegate_testing::tools::Tool;

use super::{Guide, columns};

#[tokio::test]
async fn the_gateway_is_looked_at_from_outside_and_from_its_pod() {
    let tools = [Tool::Kubectl];
    let Some(guide) = Guide::begin(&tools, &[("httpbin", 80)]).await else { return };
    guide.apply("gateway-http.yaml").await;
    guide.apply("virtualservice-basic.yaml").await;
    let shell = &guide.shell;
    assert_eq!(guide.goes("httpbin.example.com", "/status/200", &[]).await, "httpbin /status/200");

    let gateways = shell.ok("kubectl get gateways -A").await;
    assert!(columns(&gateways, "default").contains(&"httpbin-gateway".to_owned()), "{gateways}");
    let described = shell.ok("kubectl describe gateway httpbin-gateway").await;
    assert!(described.contains("httpbin.example.com"), "{described}");
    let routes = shell.ok("kubectl get virtualservices -A").await;
    assert!(columns(&routes, "default").contains(&"httpbin-vs".to_owned()), "{routes}");
    let logs = shell.spawn("kubectl logs -l app=istio-ingressgateway -n istio-system -f");
    logs.stdout().containing("/status/200").await;
    assert_eq!(guide.goes("httpbin.example.com", "/status/201", &[]).await, "httpbin /status/201");
    logs.stdout().containing("/status/201").await;
    logs.kill().await;
    let gateway = "deploy/istio-ingressgateway -n istio-system";
    for (what, said) in [("listeners", "Route: http."), ("routes", "httpbin-vs")] {
        let shown = shell.ok(&format!("istioctl proxy-config {what} {gateway}")).await;
        assert!(shown.contains(said), "{what}: {shown}");
    }

    assert_eq!(shell.ok("istioctl analyze").await, "", "nothing is wrong");
    let status = shell.ok("istioctl proxy-status").await;
    let row = status.lines().nth(1).unwrap_or_default();
    assert!(row.starts_with("istio-ingressgateway.istio-system "), "{status}");
    assert_eq!(row.matches("SYNCED").count(), 4, "{status}");
    assert!(row.contains("NOT SENT"), "no secret is used: {status}");

    let run =
        async |command: &str| shell.run(&format!("kubectl exec -it {gateway} -- {command}")).await;
    let stats = shell
        .ok(&format!("kubectl exec -it {gateway} -- curl localhost:15000/stats | grep downstream"))
        .await;
    assert!(stats.lines().any(|line| line.contains("downstream_rq_2xx: 2")), "{stats}");
    let clusters = run("curl localhost:15000/clusters").await.success();
    assert!(clusters.contains("outbound|80||httpbin.default.svc.cluster.local"), "{clusters}");
    let dump = run("curl localhost:15000/config_dump").await.success();
    let dump: Value = serde_json::from_str(&dump).expect("JSON");
    let listeners = dump["configs"][2]["dynamic_listeners"].as_array().map(Vec::len);
    assert_eq!(listeners, Some(1), "{dump}");

    for (command, said) in [
        ("sh -c 'echo hello'", "No command is run in this Pod"),
        ("curl -X POST localhost:15000/quitquitquit", "option -X is not known here"),
        ("curl example.com", "example.com is not the admin interface"),
    ] {
        let refused = run(command).await;
        assert!(refused.stderr.contains(said), "{command}: {}", refused.stderr);
        assert_eq!(refused.stdout, "", "{command}");
        assert!(refused.stderr.contains("command terminated with exit code"), "{command}");
    }
}
