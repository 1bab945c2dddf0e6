//! What users other than the kubeconfig's may do.

use super::super::FORMS_PATH;
use super::*;

fn user(name: &str, groups: &[&str]) -> User {
    User { name: name.into(), groups: groups.iter().map(|group| (*group).to_owned()).collect() }
}

#[tokio::test]
async fn groups_say_what_a_user_may_do() {
    let lab = lab();
    let viewer = user("viewer", &["tidegate:view"]);
    let nobody = user("nobody", &[]);
    lab.post(CM, config_map("a", &json!({}))).await.expect(201);
    let ask = async |user: &User, method: Method, path: &str| {
        lab.call(method, path).by(user).json(&config_map("b", &json!({}))).send().await
    };
    assert_eq!(ask(&viewer, Method::GET, &format!("{CM}/a")).await.code, 200);
    assert_eq!(ask(&viewer, Method::GET, CM).await.code, 200);
    ask(&viewer, Method::POST, CM).await.refused(
        403,
        "Forbidden",
        "configmaps is forbidden: User \"viewer\" cannot create resource \"configmaps\" in API group \"\" in the \
         namespace \"default\"",
    );
    let secrets = "/api/v1/namespaces/default/secrets";
    ask(&viewer, Method::GET, secrets).await.refused(
        403,
        "Forbidden",
        "secrets is forbidden: User \"viewer\" cannot list resource \"secrets\" in API group \"\" in the namespace \
         \"default\"",
    );
    assert_eq!(ask(&nobody, Method::GET, CM).await.code, 403);
    assert_eq!(ask(&nobody, Method::GET, "/apis").await.code, 200, "what there is may be asked");
    assert_eq!(ask(&viewer, Method::GET, FORMS_PATH).await.code, 404);
    let acts = HeaderName::from_static("impersonate-user");
    let acting = lab.call(Method::GET, CM).by(&viewer).header(acts, "admin").send().await;
    acting.refused(
        403,
        "Forbidden",
        "users \"admin\" is forbidden: User \"viewer\" cannot impersonate resource \"users\" in API group \"\" at the cluster \
         scope",
    );
    lab.get(&format!("{CM}/b")).await.refused(404, "NotFound", "configmaps \"b\" not found");
}

#[tokio::test]
async fn reviews_tell_the_truth() {
    let lab = lab();
    let viewer = user("viewer", &["tidegate:view"]);
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    for (verb, resource, allowed) in
        [("get", "services", true), ("get", "secrets", false), ("delete", "services", false)]
    {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": { "verb": verb, "resource": resource } },
        });
        let answer = lab.call(Method::POST, path).by(&viewer).json(&review).send().await;
        assert_eq!(answer.expect(201)["status"]["allowed"], allowed, "{verb} {resource}");
    }
    let who = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let who = lab.call(Method::POST, path).by(&viewer).json(&who).send().await.expect(201);
    let info = json!({ "username": "viewer", "groups": ["tidegate:view", "system:authenticated"] });
    assert_eq!(who["status"]["userInfo"], info);
}

/// `kubectl --as`: whoever may do everything is somebody else in all they ask, reviews too.
#[tokio::test]
async fn who_acts_as_somebody_is_that_one_for_everything() {
    let lab = lab();
    let (user, group) =
        (HeaderName::from_static("impersonate-user"), HeaderName::from_static("impersonate-group"));
    let who = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
    let review = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": { "verb": "list", "resource": "configmaps" } } });
    for (groups, reads) in [(&[][..], false), (&["tidegate:view"], true)] {
        let as_bob = |method: Method, path: &str| {
            let call = lab.call(method, path).header(user.clone(), "bob");
            groups.iter().fold(call, |call, own| call.header(group.clone(), own))
        };
        assert_eq!(as_bob(Method::GET, CM).send().await.code == 200, reads);
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let answer = as_bob(Method::POST, path).json(&review).send().await;
        assert_eq!(answer.expect(201)["status"]["allowed"], reads);
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let answer = as_bob(Method::POST, path).json(&who).send().await.expect(201);
        assert_eq!(answer["status"]["userInfo"]["username"], "bob");
    }
    let alone = lab.call(Method::GET, CM).header(group, "tidegate:view").send().await;
    assert_eq!(alone.code, 400);
}

/// What `kubectl auth can-i --list` says is what a review of each right says.
#[tokio::test]
async fn the_list_of_rights_is_what_each_of_them_is() {
    let lab = lab();
    let reviews = "/apis/authorization.k8s.io/v1";
    let rules = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
        "spec": { "namespace": "default" } });
    let proxies = ["tidegate:proxy:default", "tidegate:proxy:other"];
    for groups in
        [&["system:masters"][..], &["tidegate:view"], &proxies[..1], &proxies[1..], &proxies, &[]]
    {
        let asks = user("one", groups);
        let path = format!("{reviews}/selfsubjectrulesreviews");
        let answer = lab.call(Method::POST, &path).by(&asks).json(&rules).send().await;
        let status = answer.expect(201)["status"].take();
        let lists = |list: &Value, word: &str| {
            list.as_array().into_iter().flatten().any(|one| one == word || one == "*")
        };
        let told = |group: &str, resource: &str, verb: &str| {
            status["resourceRules"].as_array().expect("rules").iter().any(|rule| {
                lists(&rule["apiGroups"], group)
                    && lists(&rule["resources"], resource)
                    && lists(&rule["verbs"], verb)
            })
        };
        let path = format!("{reviews}/selfsubjectaccessreviews");
        for (group, resource, part) in [
            ("", "secrets", ""),
            ("", "configmaps", ""),
            ("", "pods", ""),
            ("", "pods", "log"),
            ("", "pods", "exec"),
            ("", "pods", "status"),
            ("", "events", ""),
            ("coordination.k8s.io", "leases", ""),
            ("apps", "deployments", ""),
            ("apps", "deployments", "scale"),
            ("networking.istio.io", "virtualservices", ""),
            ("networking.istio.io", "virtualservices", "status"),
            ("gateway.networking.k8s.io", "httproutes", ""),
            ("apiextensions.k8s.io", "customresourcedefinitions", ""),
            ("events.k8s.io", "events", ""),
            ("authorization.k8s.io", "selfsubjectaccessreviews", ""),
        ] {
            for verb in ["get", "list", "watch", "create", "update", "patch", "delete"] {
                // Parts are not listed, watched, made or deleted.
                if !part.is_empty() && !matches!(verb, "get" | "update" | "patch") {
                    continue;
                }
                let review = json!({
                    "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                    "spec": { "resourceAttributes": { "verb": verb, "group": group, "resource": resource,
                        "subresource": part, "namespace": "default" } },
                });
                let one = lab.call(Method::POST, &path).by(&asks).json(&review).send().await;
                let name =
                    if part.is_empty() { resource.into() } else { format!("{resource}/{part}") };
                assert_eq!(
                    told(group, &name, verb),
                    one.expect(201)["status"]["allowed"] == true,
                    "{groups:?}: {verb} {group} {name}"
                );
            }
        }
    }
}
