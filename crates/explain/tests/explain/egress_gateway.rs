//! An egress gateway by annotation: that is the place of whatever is decided by what it stands for.

use tidegate_explain::{Direction, Question, World};
use tidegate_pilot::{Options, ProxyKind, Workload};

use crate::support::Folder;

const MANIFESTS: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: books
  annotations:
    tidegate.dev/egress-gateway: istio-egressgateway.istio-system
spec:
  hosts: [books.example.com]
  resolution: DNS
  ports: [{number: 8080, name: http, protocol: HTTP}]
---
apiVersion: v1
kind: Service
metadata: {name: istio-egressgateway, namespace: istio-system}
spec:
  clusterIP: 10.96.0.7
  selector: {istio: egressgateway}
  ports: [{name: http, port: 80}]
";

fn asked(options: Options, question: &Question) -> (String, Option<u32>) {
    let folder = Folder::new();
    let world = World::new(options, folder.objects("all.yaml", MANIFESTS));
    let answer = world.explain(question);
    let route = answer.route.as_ref().unwrap_or_else(|| panic!("no route: {:?}", answer.end));
    let from = route.from.first().expect("a place");
    assert_eq!((from.kind.as_str(), from.name.as_str()), ("ServiceEntry", "books"));
    (answer.clusters[0].name.clone(), from.line)
}

#[test]
fn both_halves_of_the_way_lead_back_to_the_annotation() {
    let proxy = ProxyKind::Sidecar(Workload { addresses: vec![[10, 0, 9, 9].into()] });
    let sidecar = Options { proxy, namespace: "default".to_owned(), ..Options::default() };
    let host = "books.example.com".to_owned();
    let direction = Some(Direction::Outbound);
    let leaving = Question { direction, host: host.clone(), port: 8080, ..Question::default() };
    let gateway = "outbound|80||istio-egressgateway.istio-system.svc.cluster.local".to_owned();
    assert_eq!(asked(sidecar, &leaving), (gateway, Some(6)));

    let labels = [("istio".to_owned(), "egressgateway".to_owned())].into();
    let options = Options { labels, ..Options::default() };
    let arriving = Question { host, port: 80, ..Question::default() };
    let onward = "outbound|8080||books.example.com".to_owned();
    assert_eq!(asked(options, &arriving), (onward, Some(6)));
}
