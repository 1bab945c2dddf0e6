use std::fs;
use std::net::UdpSocket;

use tempfile::TempDir;
use tidegate_testing::dns_server::{DnsServer, Reply, address_record, alias_record};

use super::*;
use crate::upstream::dns::target::Host;

/// A server, and a system whose files name it.
struct Fixture {
    server: DnsServer,
    system: System,
    files: TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let server = DnsServer::start().await;
        let files = TempDir::new().unwrap();
        let resolv_conf =
            "nameserver 192.0.2.1\nsearch corp.example\noptions timeout:1 attempts:1\n";
        fs::write(files.path().join("resolv.conf"), resolv_conf).unwrap();
        let system = Self::system(vec![server.address], &files);
        Self { server, system, files }
    }

    fn system(servers: Vec<SocketAddr>, files: &TempDir) -> System {
        System::new(servers, files.path().join("resolv.conf"), files.path().join("hosts"))
    }

    async fn ask(&self, name: &str, family: Family) -> Result<Records, LookupError> {
        ask(&self.system, name, family).await
    }

    /// The names asked for since the last call.
    fn asked(&self) -> Vec<String> {
        self.server.asked().into_iter().map(|question| question.name).collect()
    }
}

async fn ask(system: &System, name: &str, family: Family) -> Result<Records, LookupError> {
    let Ok(Host::Name(name)) = Host::parse(name) else { panic!("{name} is no name") };
    system.ask(&name, family).await
}

fn records(ttl: u64, addresses: &[&str]) -> Result<Records, LookupError> {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    Ok(Records { addresses, ttl: Duration::from_secs(ttl) })
}

#[tokio::test]
async fn addresses_of_both_families_come_with_their_ttl() {
    let fixture = Fixture::new().await;
    let two = ["192.0.2.9", "192.0.2.8"].map(|address| address_record("a.example.", 30, address));
    fixture.server.reply("a.example.", RecordType::A, Reply::Records(two.to_vec()));
    fixture.server.address("a.example.", 40, "2001:db8::1");
    let v4 = fixture.ask("A.example", Family::V4).await;
    assert_eq!(v4, records(30, &["192.0.2.9", "192.0.2.8"]), "in the server's order");
    assert_eq!(fixture.ask("a.example", Family::V6).await, records(40, &["2001:db8::1"]));
}

#[tokio::test]
async fn nothing_is_remembered_between_lookups() {
    let fixture = Fixture::new().await;
    fixture.server.address("a.example.", 300, "192.0.2.1");
    assert_eq!(fixture.ask("a.example", Family::V4).await, records(300, &["192.0.2.1"]));
    fixture.server.address("a.example.", 300, "192.0.2.2");
    assert_eq!(fixture.ask("a.example", Family::V4).await, records(300, &["192.0.2.2"]));
    fixture.server.reply("a.example.", RecordType::A, Reply::Code(ResponseCode::NXDomain));
    assert_eq!(fixture.ask("a.example", Family::V4).await, Err(LookupError::NoSuchName));
    fixture.server.address("a.example.", 300, "192.0.2.3");
    assert_eq!(fixture.ask("a.example", Family::V4).await, records(300, &["192.0.2.3"]));
}

#[tokio::test]
async fn an_alias_is_followed_and_its_ttl_counts() {
    let fixture = Fixture::new().await;
    let chain = vec![
        alias_record("www.example.", 20, "host.example."),
        address_record("host.example.", 300, "192.0.2.1"),
    ];
    fixture.server.reply("www.example.", RecordType::A, Reply::Records(chain));
    assert_eq!(fixture.ask("www.example", Family::V4).await, records(20, &["192.0.2.1"]));

    // The server knows the alias only: the address is asked for separately.
    let alias = vec![alias_record("far.example.", 200, "host.example.")];
    fixture.server.reply("far.example.", RecordType::A, Reply::Records(alias));
    fixture.server.address("host.example.", 25, "192.0.2.2");
    assert_eq!(fixture.ask("far.example", Family::V4).await, records(25, &["192.0.2.2"]));
}

#[tokio::test]
async fn answers_without_addresses_are_told_apart() {
    let fixture = Fixture::new().await;
    for (name, code, error) in [
        ("gone.example", ResponseCode::NXDomain, LookupError::NoSuchName),
        ("bare.example", ResponseCode::NoError, LookupError::NoAddress),
        ("ill.example", ResponseCode::ServFail, LookupError::Refused("Server Failure".into())),
        ("shy.example", ResponseCode::Refused, LookupError::Refused("Query Refused".into())),
    ] {
        fixture.server.reply(&format!("{name}."), RecordType::A, Reply::Code(code));
        assert_eq!(fixture.ask(name, Family::V4).await, Err(error));
    }
    fixture.server.reply("mute.example.", RecordType::A, Reply::Silence);
    assert_eq!(fixture.ask("mute.example", Family::V4).await, Err(LookupError::Timeout));
}

#[tokio::test]
async fn an_answer_too_long_for_udp_is_fetched_over_tcp() {
    let fixture = Fixture::new().await;
    let many: Vec<String> = (0..200).map(|n| format!("192.0.2.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let answer = many.iter().map(|address| address_record("many.example.", 9, address)).collect();
    fixture.server.reply("many.example.", RecordType::A, Reply::Records(answer));
    fixture.server.truncate();
    assert_eq!(fixture.ask("many.example", Family::V4).await, records(9, &many));
    let transports: Vec<bool> = fixture.server.asked().iter().map(|asked| asked.tcp).collect();
    assert_eq!(transports, [false, true]);
}

#[tokio::test]
async fn the_search_list_is_for_names_without_a_dot() {
    let fixture = Fixture::new().await;
    fixture.server.address("db.corp.example.", 9, "192.0.2.1");
    assert_eq!(fixture.ask("db", Family::V4).await, records(9, &["192.0.2.1"]));
    assert_eq!(fixture.asked(), ["db.corp.example."]);

    fixture.server.address("other.", 9, "192.0.2.2");
    assert_eq!(fixture.ask("other", Family::V4).await, records(9, &["192.0.2.2"]));
    assert_eq!(fixture.asked(), ["other.corp.example.", "other."]);

    for name in ["api.missing.example", "missing."] {
        assert_eq!(fixture.ask(name, Family::V4).await, Err(LookupError::NoSuchName));
        assert_eq!(fixture.asked().len(), 1, "asked for as it is, once");
    }
}

#[tokio::test]
async fn the_table_of_hosts_comes_first_and_is_read_again() {
    let fixture = Fixture::new().await;
    fixture.server.address("a.example.", 9, "192.0.2.1");
    assert_eq!(fixture.ask("a.example", Family::V4).await, records(9, &["192.0.2.1"]));
    let hosts = fixture.files.path().join("hosts");
    fs::write(&hosts, "10.0.0.1 a.example\n").unwrap();
    assert_eq!(fixture.ask("a.example", Family::V4).await, records(0, &["10.0.0.1"]));
    assert_eq!(fixture.ask("a.example", Family::V6).await, Err(LookupError::NoAddress));
    fs::write(&hosts, "# none any more\n").unwrap();
    assert_eq!(fixture.ask("a.example", Family::V4).await, records(9, &["192.0.2.1"]));
}

#[tokio::test]
async fn servers_are_asked_in_order_until_one_answers() {
    let fixture = Fixture::new().await;
    fixture.server.address("a.example.", 9, "192.0.2.1");
    // A port that nobody listens on: it was taken a moment ago, and given back.
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ill = DnsServer::start().await;
    ill.reply("a.example.", RecordType::A, Reply::Code(ResponseCode::ServFail));
    let servers = vec![closed, ill.address, fixture.server.address];
    let system = Fixture::system(servers, &fixture.files);
    assert_eq!(ask(&system, "a.example", Family::V4).await, records(9, &["192.0.2.1"]));
    assert!(!ill.asked().is_empty());
}

#[tokio::test]
async fn without_a_server_the_error_says_where_to_name_one() {
    let files = TempDir::new().unwrap();
    let system = Fixture::system(Vec::new(), &files);
    let error = ask(&system, "a.example", Family::V4).await.unwrap_err();
    assert!(error.to_string().contains("resolv.conf names none"), "{error}");
}
