use clap::CommandFactory;

use super::*;

/// Parses a line as a shell would hand it over: what stands between single quotes is one argument.
fn parse(line: &str) -> Result<Cli, String> {
    let mut arguments: Vec<String> = Vec::new();
    for (n, part) in line.split('\'').enumerate() {
        match n % 2 {
            0 => arguments.extend(part.split_whitespace().map(str::to_owned)),
            _ => arguments.push(part.to_owned()),
        }
    }
    Cli::try_parse_from(arguments).map_err(|error| error.to_string())
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

/// Lines that start with `tidegate` in any help text.
#[test]
fn examples_in_help_texts_parse() {
    let mut seen = 0;
    for verb in std::iter::once(&Cli::command()).chain(Cli::command().get_subcommands()) {
        let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
        let lines = help.lines().map(|line| line.trim().trim_start_matches("sudo "));
        for line in lines.filter(|line| line.starts_with("tidegate ")) {
            let line = line.split(" > ").next().unwrap_or(line);
            // Paths have to exist; this folder does.
            let line = line
                .replace("./manifests", ".")
                .replace("envoy.yaml", ".")
                .replace("mesh.yaml", ".")
                .replace("envoy.json", ".")
                .replace("tls.crt", ".")
                .replace("tls.key", ".");
            if let Err(error) = parse(&line) {
                panic!("{line}: {error}");
            }
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen} examples");
}

#[test]
fn up_has_working_defaults() {
    let Ok(Cli { verb: Verb::Up(up) }) = parse("tidegate up") else { panic!("up") };
    assert_eq!(up.api.api_listen.to_string(), "127.0.0.1:6443");
    assert_eq!(up.api.api_request_rate.get(), 1_000);
    assert_eq!(up.admin_listen.to_string(), "127.0.0.1:15000");
    assert_eq!(up.gateway_labels.to_string(), "istio=ingressgateway");
    assert_eq!(up.access_log, AccessLogFile::Stdout);
    assert!(up.access_log_format.source().ends_with("%ROUTE_NAME%\n"));
    assert!(!up.demo && up.api.files.is_empty() && up.port_map.is_none());
}

#[test]
fn mistakes_are_told_with_an_example() {
    let told = |line: &str| parse(line).err().unwrap_or_else(|| panic!("{line} passes"));
    assert!(told("tidegate up --api-listen 6443").contains("such as 127.0.0.1:6443"));
    assert!(told("tidegate up --port-map 80").contains("such as 80=8080"));
    assert!(told("tidegate up --gateway-labels istio").contains("such as istio=ingressgateway"));
    assert!(told("tidegate up -f /no/such/file").contains("No such file"));
    assert!(told("tidegate up --access-log-format istio-0.8").contains("istio-1.1"));
    assert!(told("tidegate up --workers 0").contains("--workers"));
    assert!(told("tidegate up --api-request-rate 0").contains("--api-request-rate"));
    assert!(told("tidegate up --log-level loud").contains("debug"));
}
