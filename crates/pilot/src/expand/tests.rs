//! What annotations stand for, case by case.

use serde_json::{Value, json};
use tidegate_api::{Kind, Object, Origin, Spec};

use super::{
    Front, GATEWAY_ANNOTATION, LongForm, MUTUAL_ANNOTATION, Ports, TLS_ANNOTATION, Wish, long_form,
};

fn entry(annotations: &Value, spec: &Value) -> Object {
    let manifest = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": { "name": "books", "namespace": "shop", "annotations": annotations },
        "spec": spec,
    });
    Object::decode(Kind::ServiceEntry, "v1", &manifest, Origin::Api).expect("it decodes").object
}

fn written(object: &Object, front: Option<&Front>) -> LongForm {
    let Spec::ServiceEntry(spec) = &object.spec else { panic!("no ServiceEntry") };
    let wish = Wish::of(object, "cluster.local").expect("a wish").expect("that can be read");
    let form = long_form(object, spec, &wish, front, &Ports::default(), "cluster.local");
    for manifest in &form.manifests {
        let kind = super::key_of(manifest).kind;
        let decoded = Object::decode(kind, "v1", manifest, Origin::Api);
        let decoded = decoded.unwrap_or_else(|errors| panic!("{errors:?}\n{manifest:#}"));
        assert!(decoded.warnings.is_empty(), "{:?}\n{manifest:#}", decoded.warnings);
    }
    form
}

fn ports(ports: &[(u16, &str)]) -> Value {
    let port = |(number, protocol): &(u16, &str)| json!({"number": number, "name": format!("p{number}"), "protocol": protocol});
    ports.iter().map(port).collect()
}

fn spec(hosts: &[&str], of: &[(u16, &str)]) -> Value {
    json!({"hosts": hosts, "ports": ports(of), "resolution": "DNS"})
}

fn kinds(form: &LongForm) -> Vec<&str> {
    form.manifests.iter().map(|manifest| manifest["kind"].as_str().expect("a kind")).collect()
}

fn front() -> Front {
    let selector = [("app".to_owned(), "exit".to_owned())].into();
    Front { selector, ports: vec![80, 443] }
}

const VIA: &str = "istio-egressgateway.istio-system";

#[test]
fn http_is_carried_by_host_and_leaves_in_tls_where_that_is_asked_for() {
    let annotations = json!({GATEWAY_ANNOTATION: VIA, TLS_ANNOTATION: "true"});
    let object =
        entry(&annotations, &spec(&["books.example.com"], &[(80, "HTTP"), (443, "HTTPS")]));
    let form = written(&object, Some(&front()));
    assert_eq!(form.faults, [""; 0]);
    assert_eq!(kinds(&form), ["Gateway", "VirtualService", "DestinationRule"]);
    let [gateway, service, rule] = &form.manifests[..] else { panic!("three") };
    assert_eq!(gateway["metadata"]["name"], "books-via-istio-egressgateway");
    assert_eq!(gateway["spec"]["selector"], json!({"app": "exit"}));
    assert_eq!(gateway["spec"]["servers"][0]["port"]["number"], 80);
    assert_eq!(gateway["spec"]["servers"][1]["tls"], json!({"mode": "PASSTHROUGH"}));
    let host = "istio-egressgateway.istio-system.svc.cluster.local";
    let http = json!([
        {
            "match": [{"gateways": ["mesh"], "port": 80}],
            "route": [{"destination": {"host": host, "port": {"number": 80}}}],
        },
        {
            "match": [{"gateways": ["books-via-istio-egressgateway"], "port": 80}],
            "route": [{"destination": {
                "host": "books.example.com", "port": {"number": 443}, "subset": "originate-tls",
            }}],
        },
    ]);
    assert_eq!(service["spec"]["http"], http);
    assert_eq!(service["spec"]["tls"][1]["match"][0]["sniHosts"], json!(["books.example.com"]));
    let onward = &service["spec"]["tls"][1]["route"][0]["destination"];
    assert_eq!(
        *onward,
        json!({"host": "books.example.com", "port": {"number": 443}}),
        "TLS goes as it is"
    );
    let tls = json!({"mode": "SIMPLE", "sni": "books.example.com"});
    let subset = json!({"name": "originate-tls", "trafficPolicy": {"tls": tls}});
    assert_eq!(rule["spec"], json!({"host": "books.example.com", "subsets": [subset]}));
}

#[test]
fn every_host_has_routes_of_its_own() {
    let object = entry(
        &json!({GATEWAY_ANNOTATION: VIA}),
        &spec(&["a.example", "b.example"], &[(80, "HTTP")]),
    );
    let form = written(&object, None);
    assert_eq!(kinds(&form), ["Gateway", "VirtualService", "VirtualService"]);
    let name = |number: usize| form.manifests[number]["metadata"]["name"].clone();
    assert_ne!(name(1), name(2));
    assert_eq!(form.manifests[0]["spec"]["servers"][0]["hosts"], json!(["a.example", "b.example"]));
    assert_eq!(form.manifests[2]["spec"]["hosts"], json!(["b.example"]));
    let onward = &form.manifests[2]["spec"]["http"][1]["route"][0]["destination"]["host"];
    assert_eq!(onward, "b.example");
    assert_eq!(
        form.manifests[0]["spec"]["selector"],
        json!({"istio": "egressgateway"}),
        "no Service to ask"
    );
}

#[test]
fn several_ports_of_one_kind_keep_their_numbers() {
    let of = [(8080, "HTTP"), (8081, "HTTP"), (8443, "TLS"), (27017, "MONGO")];
    let object = entry(&json!({GATEWAY_ANNOTATION: VIA}), &spec(&["a.example"], &of));
    let form = written(&object, None);
    let servers = form.manifests[0]["spec"]["servers"].as_array().expect("servers");
    let numbers: Vec<&Value> = servers.iter().map(|server| &server["port"]["number"]).collect();
    assert_eq!(numbers, [8080, 8081, 443, 27017]);
    assert_eq!(form.manifests[1]["spec"]["tcp"][1]["match"][0]["port"], 27017);
    let lacking = written(&object, Some(&front())).faults;
    assert_eq!(lacking.len(), 3, "{lacking:?}");
    assert!(lacking[0].contains("has no port 8080"), "{lacking:?}");
}

#[test]
fn in_mutual_tls_all_goes_by_the_name_that_workloads_ask_the_gateway_for() {
    let annotations = json!({GATEWAY_ANNOTATION: VIA, MUTUAL_ANNOTATION: "true"});
    let of = [(80, "HTTP"), (443, "TLS"), (3306, "TCP")];
    let mut entry_spec = spec(&["b-c.example"], &of);
    entry_spec["exportTo"] = json!([".", "istio-system"]);
    let front = Front { ports: vec![80, 443, 3306], ..front() };
    let form = written(&entry(&annotations, &entry_spec), Some(&front));
    assert_eq!(form.faults, [""; 0]);
    assert_eq!(kinds(&form), ["Gateway", "VirtualService", "DestinationRule"]);
    let servers = form.manifests[0]["spec"]["servers"].as_array().expect("servers");
    let told = |server: &Value| {
        assert_eq!(server["tls"], json!({"mode": "ISTIO_MUTUAL"}));
        (server["port"]["number"].clone(), server["port"]["protocol"].clone())
    };
    let told: Vec<_> = servers.iter().map(told).collect();
    let expected = [(80, "HTTPS"), (443, "TLS"), (3306, "TLS")];
    assert_eq!(told, expected.map(|(port, protocol)| (json!(port), json!(protocol))));

    let rules = &form.manifests[1]["spec"];
    let subset = |rule: &Value| rule["route"][0]["destination"]["subset"].clone();
    assert_eq!(subset(&rules["http"][0]), "b--c-example");
    assert_eq!(subset(&rules["http"][1]), Value::Null, "from the gateway on");
    assert_eq!(rules["tls"].as_array().map(Vec::len), Some(1), "as workloads send it");
    assert_eq!(rules["tls"][0]["match"][0]["sniHosts"], json!(["b-c.example"]));
    let ports: Vec<&Value> = (rules["tcp"].as_array().expect("rules").iter())
        .map(|rule| &rule["match"][0]["port"])
        .collect();
    assert_eq!(ports, [443, 3306, 3306], "what the gateway gets out of TLS of the mesh is bytes");

    let rule = &form.manifests[2];
    assert_eq!(rule["metadata"]["name"], "books.shop.via-istio-egressgateway");
    assert_eq!(rule["metadata"]["namespace"], "istio-system", "where workloads of others look");
    assert_eq!(rule["spec"]["exportTo"], json!(["shop", "istio-system"]));
    assert_eq!(rule["spec"]["host"], "istio-egressgateway.istio-system.svc.cluster.local");
    let tls = json!({"tls": {"mode": "ISTIO_MUTUAL", "sni": "b-c.example"}});
    let subsets = json!([{"name": "b--c-example", "trafficPolicy": tls}]);
    assert_eq!(rule["spec"]["subsets"], subsets);
}

#[test]
fn a_wildcard_in_mutual_tls_is_asked_for_by_a_name_under_it() {
    let annotations = json!({GATEWAY_ANNOTATION: VIA, MUTUAL_ANNOTATION: "true"});
    let mut wild = spec(&["*.example.com"], &[(80, "HTTP"), (443, "TLS")]);
    wild["resolution"] = "DYNAMIC_DNS".into();
    let form = written(&entry(&annotations, &wild), None);
    assert_eq!(form.faults.len(), 1, "{:?}", form.faults);
    assert!(form.faults[0].contains("port 443 does not go"), "{:?}", form.faults);
    let servers = form.manifests[0]["spec"]["servers"].as_array().expect("servers");
    assert_eq!(servers.len(), 1);
    let subset = &form.manifests[2]["spec"]["subsets"][0];
    assert_eq!(subset["trafficPolicy"]["tls"]["sni"], "any.example.com");
}

#[test]
fn what_cannot_be_written_out_is_told_with_what_to_do() {
    let faults = |annotations: &Value, spec: &Value| {
        written(&entry(annotations, spec), None).faults.join("\n")
    };
    let both = json!({GATEWAY_ANNOTATION: VIA, TLS_ANNOTATION: "true"});
    assert!(
        faults(&both, &spec(&["a.example"], &[(80, "HTTP")]))
            .contains("add targetPort: 443 to port 80")
    );
    let fitting = json!({"hosts": ["a.example"], "resolution": "DNS",
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 443}]});
    assert_eq!(faults(&both, &fitting), "");
    assert!(
        faults(&both, &spec(&["a.example"], &[(443, "TLS")])).contains("no port here is of HTTP")
    );
    let via = json!({GATEWAY_ANNOTATION: VIA});
    let mut none = spec(&["a.example"], &[(80, "HTTP")]);
    none["resolution"] = "NONE".into();
    assert!(faults(&via, &none).contains("write resolution: DNS"));
    none["hosts"] = json!(["*.example"]);
    assert_eq!(faults(&via, &none), "");
    let mut hidden = spec(&["a.example"], &[(80, "HTTP")]);
    hidden["exportTo"] = json!(["."]);
    assert!(faults(&via, &hidden).contains("add istio-system to exportTo"));
    let unknown =
        faults(&json!({GATEWAY_ANNOTATION: "exit.edge"}), &spec(&["a.example"], &[(80, "HTTP")]));
    assert!(unknown.contains("Service edge/exit is not there"), "{unknown}");
}

#[test]
fn annotations_are_read_strictly() {
    let wish = |annotations: &Value| {
        let object = entry(annotations, &spec(&["a.example"], &[(80, "HTTP")]));
        Wish::of(&object, "cluster.local")
    };
    assert_eq!(wish(&json!({})), None);
    let key = |written: &str| {
        let read = wish(&json!({GATEWAY_ANNOTATION: written})).expect("a wish");
        read.map(|wish| format!("{}/{}", wish.gateway.namespace, wish.gateway.name))
    };
    assert_eq!(key("istio-egressgateway").as_deref(), Ok("shop/istio-egressgateway"));
    assert_eq!(key(VIA).as_deref(), Ok("istio-system/istio-egressgateway"));
    assert_eq!(key("exit.edge.svc.cluster.local").as_deref(), Ok("edge/exit"));
    for wrong in ["", "*", "exit.edge.example.com", "a/b", ".x", "x."] {
        assert!(key(wrong).is_err(), "{wrong:?}");
    }
    for annotation in [TLS_ANNOTATION, MUTUAL_ANNOTATION] {
        let both = json!({GATEWAY_ANNOTATION: VIA, annotation: "yes"});
        assert!(wish(&both).expect("a wish").is_err(), "{annotation}");
        let lonely = wish(&json!({annotation: "true"})).expect("a wish");
        assert!(lonely.is_err_and(|why| why.contains(annotation)), "it would be lost in silence");
    }
    let misspelt = json!({GATEWAY_ANNOTATION: VIA, "tidegate.dev/originate-tlss": "true"});
    let misspelt = wish(&misspelt).expect("a wish");
    assert!(
        misspelt.is_err_and(|why| why.contains("originate-tlss") && why.contains(TLS_ANNOTATION))
    );
    assert_eq!(wish(&json!({"tidegate.dev/source": "a.yaml:3", "team": "x"})), None);
}
