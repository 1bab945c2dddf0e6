use super::*;

/// What the words of a line mean, beside a Pod of these variables.
fn told(line: &[&str], variables: &[(&str, &str)]) -> Result<Vec<String>, String> {
    let variable = |name: &str| {
        let found = variables.iter().find(|(own, _)| *own == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let file = |path: &Path| match path.to_str()? {
        LABELS => Some("app=\"sleep\"\nversion=\"v1\"\n".to_owned()),
        "/mesh" => Some(String::new()),
        _ => None,
    };
    let addresses =
        || vec!["10.0.0.7".parse::<IpAddr>().expect("an address"), IpAddr::from([0xfd; 16])];
    let pod = Pod { variable: &variable, file: &file, addresses: &addresses };
    let line = line.iter().map(OsString::from).collect();
    match meant(line, &pod).map_err(|failure| failure.to_string())? {
        Meant::Ours(words) => {
            Ok(words.iter().map(|word| word.to_string_lossy().into_owned()).collect())
        }
        Meant::Agents(_) => Ok(vec![AGENT.to_owned()]),
    }
}

#[test]
fn what_init_containers_are_started_with_is_capture() {
    let line = "tidegate istio-iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x";
    let mut line: Vec<&str> = line.split(' ').collect();
    line.extend(["", "-b", "*", "-d", "15090", "--log_output_level=default:info"]);
    let words = told(&line, &[]).expect("words").join(" ");
    assert_eq!(
        words,
        "tidegate capture apply -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x  -b * -d 15090"
    );
    let variables = [("ISTIO_META_DNS_CAPTURE", "true"), ("ISTIO_OUTBOUND_OWNER_GROUPS", "7")];
    let line = ["pilot-agent", "istio-iptables", "--capture-all-dns=true", "--drop-invalid=false"];
    let words = told(&line, &variables).expect("words").join(" ");
    let wanted = "tidegate capture apply --redirect-dns --capture-all-dns --include-owner-groups 7";
    assert_eq!(words, wanted);
    for (flags, wanted) in [
        (&["--dry-run", "-i", "*"][..], "tidegate capture print -i *"),
        (&["-n", "--dual-stack", "-t", "1337"], "tidegate capture print"),
        (&["--cleanup-only", "-i", "*"], "tidegate capture remove"),
        (&["--force-iptables-binary=legacy"], "tidegate capture apply --backend legacy"),
        (&["--help"], "tidegate capture apply --help"),
        (&["--no-such-flag", "1"], "tidegate capture apply --no-such-flag 1"),
    ] {
        let line = [&["tidegate", "istio-iptables"], flags].concat();
        assert_eq!(told(&line, &[]).expect("words").join(" "), wanted);
    }
}

#[test]
fn what_sidecars_are_started_with_is_sidecar() {
    let line = [
        "/usr/bin/pilot-agent",
        "proxy",
        "sidecar",
        "--domain",
        "shop.svc.cluster.local",
        "--proxyLogLevel=warning",
        "--proxyComponentLogLevel=misc:error",
        "--log_output_level=default:debug,ads:info",
    ];
    let variables = [
        ("POD_NAME", "sleep-1"),
        ("POD_NAMESPACE", "shop"),
        ("SERVICE_ACCOUNT", "sleeper"),
        ("INSTANCE_IP", "10.0.0.7"),
        ("ISTIO_META_INTERCEPTION_MODE", "TPROXY"),
        ("ISTIO_CPU_LIMIT", "4"),
        ("PROXY_CONFIG", r#"{"concurrency": 2, "statusPort": 15020}"#),
    ];
    let words = told(&line, &variables).expect("words").join(" ");
    let wanted = "tidegate sidecar --log-level debug --workers 2 --namespace shop --pod sleep-1 --service-account sleeper \
                  --labels app=sleep,version=v1 --interception-mode TPROXY --address 10.0.0.7 \
                  --address fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd";
    assert_eq!(words, wanted);
    let of = |flags: &[&str], variables: &[(&str, &str)]| {
        let line = [&["tidegate", "proxy", "sidecar"], flags].concat();
        told(&line, variables).map(|words| words.join(" "))
    };
    let limit = [("ISTIO_CPU_LIMIT", "4"), ("ISTIO_META_INTERCEPTION_MODE", "NONE")];
    let own = "tidegate sidecar --labels app=sleep,version=v1";
    assert_eq!(of(&[], &limit).expect("words"), own.replace("sidecar", "sidecar --workers 4"));
    let names = of(&[], &[("ISTIO_META_DNS_CAPTURE", "true")]).expect("words");
    assert_eq!(names, own.replace("sidecar", "sidecar --redirect-dns"));
    let flags = ["--concurrency", "3", "--meshConfig", "/mesh", "--stsPort=0"];
    let mesh = own.replace("sidecar", "sidecar --mesh-config /mesh --workers 3");
    assert_eq!(of(&flags, &limit).expect("words"), mesh);
    let absent = of(&["--meshConfig=./etc/istio/config/mesh"], &[]);
    assert_eq!(absent.expect("words"), own);
}

#[test]
fn what_is_not_to_be_had_is_refused_in_words() {
    for (line, why) in [
        ("tidegate istio-iptables --run-validation --skip-rule-apply", "CNI plugin"),
        ("tidegate istio-iptables -t 7", "1337"),
        ("tidegate istio-iptables -r 7", "133"),
        ("tidegate proxy sidecar --domain shop.svc.example", "svc.cluster.local alone"),
        ("tidegate proxy sidecar --templateFile=/x", "--templateFile"),
        ("tidegate proxy router --domain a", "tidegate up"),
    ] {
        let line: Vec<&str> = line.split(' ').collect();
        let refused = told(&line, &[]).expect_err("it is refused");
        assert!(refused.contains(why), "{line:?}: {refused}");
    }
    let loopback = [("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "127.0.0.0/8")];
    let refused = told(&["tidegate", "istio-iptables"], &loopback).expect_err("it is refused");
    assert!(refused.contains("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR"), "{refused}");
    let wrong = [("PROXY_CONFIG", "{a")];
    let refused = told(&["tidegate", "proxy", "sidecar"], &wrong).expect_err("it is refused");
    assert!(refused.contains("PROXY_CONFIG"), "{refused}");
}

#[test]
fn lines_of_our_own_are_left_as_they_are() {
    for line in [
        &["tidegate"][..],
        &["tidegate", "proxy", "-c", "envoy.yaml"],
        &["tidegate", "wait"],
        &["pilot-agent", "version"],
    ] {
        assert_eq!(told(line, &[]).expect("words"), line);
    }
    assert_eq!(told(&["pilot-agent", "wait"], &[]).expect("a verb"), [AGENT]);
    assert_eq!(told(&["/bin/pilot-agent", "request", "GET", "/"], &[]).expect("a verb"), [AGENT]);
}
