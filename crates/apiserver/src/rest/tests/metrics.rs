//! What `/metrics` tells, and whom.

use tidegate_api::Kind;

use super::*;

#[tokio::test]
async fn what_was_asked_and_what_is_kept_is_told_to_who_may_look() {
    let lab = lab();
    lab.post(VS, virtual_service("a", "a")).await.expect(201);
    lab.post(VS, virtual_service("a", "a")).await.expect(409);
    lab.get(&format!("{VS}/nobody")).await.expect(404);
    let watch = lab.call(Method::GET, &format!("{VS}?watch=true")).reply().await;
    let told = lab.get("/metrics").await;
    assert_eq!(told.code, 200);
    let resource = "group=\"networking.istio.io\",resource=\"virtualservices\"";
    let bytes = lab.store.list(Kind::VirtualService, None).entries[0].size();
    for line in [
        "# TYPE apiserver_request_total counter".to_owned(),
        format!("apiserver_request_total{{verb=\"POST\",{resource},code=\"201\"}} 1"),
        format!("apiserver_request_total{{verb=\"POST\",{resource},code=\"409\"}} 1"),
        format!("apiserver_request_total{{verb=\"GET\",{resource},code=\"404\"}} 1"),
        "apiserver_longrunning_requests{verb=\"WATCH\"} 1".to_owned(),
        "apiserver_storage_objects{resource=\"virtualservices.networking.istio.io\"} 1".to_owned(),
        format!(
            "tidegate_storage_bytes{{resource=\"virtualservices.networking.istio.io\"}} {bytes}"
        ),
    ] {
        assert!(told.text.lines().any(|one| one == line), "no {line} in\n{}", told.text);
    }
    drop(watch);
    let user = |name: &str, group: &str| User { name: name.into(), groups: vec![group.into()] };
    let ask = async |user| lab.call(Method::GET, "/metrics").by(&user).send().await;
    assert_eq!(ask(user("viewer", "tidegate:view")).await.code, 200);
    ask(user("gateway", "tidegate:proxy:default")).await.refused(
        403,
        "Forbidden",
        "forbidden: User \"gateway\" cannot get path \"/metrics\"",
    );
}
