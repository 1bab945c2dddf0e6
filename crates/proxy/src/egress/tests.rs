use std::time::Duration;

use super::list::{Line, List};
use super::*;

fn refusal(asked: Asked, name: Option<&str>, destination: &str) -> Refusal {
    Refusal {
        asked,
        name: name.map(Box::from),
        destination: destination.parse().expect("an address"),
        source: IpAddr::from([10, 0, 0, 7]),
        at_gateway: false,
        bounded_by: None,
    }
}

/// The name `db.example` of 1.2.3.4.
struct OneName;

impl Led for OneName {
    fn name_of(&self, address: IpAddr) -> Option<Arc<str>> {
        (address == IpAddr::from([1, 2, 3, 4])).then(|| "db.example".into())
    }

    fn led_by(&self, address: IpAddr, fits: &dyn Fn(&str) -> bool) -> bool {
        self.name_of(address).is_some_and(|name| fits(&name))
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn a_host_is_a_name_without_its_port() {
    for (name, expected) in [
        ("www.espn.com", Some("www.espn.com")),
        ("WWW.Espn.COM.:8080", Some("www.espn.com")),
        ("db_1", Some("db_1")),
        ("10.0.0.1:80", None),
        ("[::1]:80", None),
        ("a b", None),
        ("a..b", None),
        ("", None),
        ("\u{1b}[31m", None),
        (&"a.".repeat(200), None),
        (&"a".repeat(64), None),
    ] {
        assert_eq!(host(name.as_bytes()).as_deref(), expected, "{name:?}");
    }
    assert_eq!(host(&[0xff, 0xfe]), None);
}

#[test]
fn the_same_is_counted_and_told_of_once_a_minute() {
    let mut list = List::default();
    let asked = refusal(Asked::Tls, None, "1.2.3.4:443");
    let name: Arc<str> = "www.espn.com".into();
    let add = |list: &mut List, seconds| {
        let (told, gone) = list.add(&asked, Some(Arc::clone(&name)), at(seconds));
        assert_eq!(gone, 0);
        told.map(|line| match line {
            Line::Denied(denied) => denied.to_string(),
            Line::Enough => "enough".to_owned(),
        })
    };
    let first = add(&mut list, 0).expect("told of");
    assert!(
        first.starts_with(
            "egress denied: a TLS connection from 10.0.0.7 to www.espn.com:443 (1.2.3.4); nothing"
        ),
        "{first}"
    );
    assert_eq!(add(&mut list, 59), None);
    let again = add(&mut list, 60).expect("told of");
    assert!(again.contains("(1.2.3.4), 3 times so far;"), "{again}");
    assert_eq!(add(&mut list, 119), None);
    let at_gateway = Refusal { at_gateway: true, ..refusal(Asked::Http, None, "10.0.0.1:80") };
    let (Some(Line::Denied(told)), _) = List::default().add(&at_gateway, None, at(0)) else {
        panic!("told of")
    };
    assert!(told.to_string().contains("; nothing leads it through this gateway: "), "{told}");
    let [denied] = &list.denied()[..] else { panic!("one entry") };
    assert_eq!((denied.count, denied.first, denied.last), (4, at(0), at(119)));
}

#[test]
fn what_differs_in_kind_host_or_port_is_listed_apart_and_addresses_only_without_a_host() {
    let mut list = List::default();
    let host = || Some(Arc::from("a.example"));
    for (asked, host, destination) in [
        (Asked::Http, host(), "1.1.1.1:80"),
        (Asked::Http, host(), "2.2.2.2:80"),
        (Asked::Http, host(), "1.1.1.1:8080"),
        (Asked::Tls, host(), "1.1.1.1:80"),
        (Asked::Tcp, None, "1.1.1.1:80"),
        (Asked::Tcp, None, "[::ffff:1.1.1.1]:80"),
        (Asked::Tcp, None, "2.2.2.2:80"),
    ] {
        list.add(&refusal(asked, None, destination), host, at(1));
    }
    let counts: Vec<u64> = list.denied().iter().map(|denied| denied.count).collect();
    assert_eq!((counts.len(), counts.iter().sum::<u64>()), (5, 7));
}

#[test]
fn the_list_is_bounded_and_says_what_fell_out() {
    let mut list = List::default();
    for number in 0..1000_u64 {
        let destination = format!("10.1.{}.{}:80", number / 256, number % 256);
        let asked = refusal(Asked::Tcp, None, &destination);
        assert_eq!(list.add(&asked, None, at(number)).1, 0);
    }
    let oldest = refusal(Asked::Tcp, None, "10.1.0.0:80");
    list.add(&oldest, None, at(2000));
    let second = refusal(Asked::Tcp, None, "10.1.0.1:80");
    let third = refusal(Asked::Tcp, None, "10.1.0.2:80");
    list.add(&third, None, at(2));
    assert_eq!(list.add(&refusal(Asked::Tcp, None, "10.9.9.9:80"), None, at(2001)).1, 1);
    assert_eq!(list.add(&second, None, at(2002)).1, 2, "the second is new, and the third went");
    let all = list.denied();
    assert_eq!(all.len(), 1000);
    assert_eq!(all[0].destination, "10.1.0.1:80".parse().expect("an address"));
}

#[test]
fn who_asks_for_ever_new_names_does_not_fill_the_log() {
    let mut list = List::default();
    let mut told = |number: u64, seconds| {
        let host = format!("{number}.example");
        let asked = refusal(Asked::Http, None, "1.1.1.1:80");
        list.add(&asked, Some(host.into()), at(seconds)).0
    };
    let first: Vec<Option<Line>> = (0..1000).map(|number| told(number, 100)).collect();
    let denied = |line: &Option<Line>| matches!(line, Some(Line::Denied(_)));
    assert_eq!(first.iter().filter(|line| denied(line)).count(), 60);
    assert_eq!(first[60], Some(Line::Enough), "which is said once");
    assert!(first[61..].iter().all(Option::is_none));
    assert!(denied(&told(999, 160)), "what had no line has one later");
    assert!(denied(&told(0, 161)), "as has what may be told again");
    assert_eq!(told(999, 162), None);
}

#[tokio::test]
async fn names_of_dns_stand_in_where_the_client_named_none() {
    let office = Office::new();
    let (register, sender) = (Arc::<Register>::default(), office.sender());
    let names = Names(Some(Arc::new(OneName)));
    let (told, mut heard) = mpsc::unbounded_channel();
    let registry = crate::stats::Registry::new(1);
    let stats = registry.control().egress();
    let kept = tokio::spawn(office.keep(Arc::clone(&register), names, stats, Some(told)));
    for destination in ["1.2.3.4:3306", "4.3.2.1:3306"] {
        sender.send(refusal(Asked::Tcp, None, destination)).await.expect("kept");
    }
    drop(sender);
    kept.await.expect("ends with the last worker");
    let mut hosts: Vec<Option<Arc<str>>> =
        register.denied().into_iter().map(|denied| denied.host).collect();
    hosts.sort();
    assert_eq!(hosts, [None, Some("db.example".into())]);
    assert!(matches!(heard.recv().await, Some(Incident::Egress(_))));
}
