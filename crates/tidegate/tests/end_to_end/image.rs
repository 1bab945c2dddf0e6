//! `deploy/Dockerfile`, as far as it can be judged without a builder of images: what it is made from, who runs in it, that its
//! commands put there what is started, and that this needs nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use http::{Request, Response};
use hyper::body::Incoming;
use serde_json::Value;
use tidegate_testing::origin::{Body, Origin, full};
use tidegate_testing::tools::{Tool, is_root, skip};
use tokio::process::Command as AsyncCommand;

use crate::support::{ApiServer, Attached, objects};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

const GATEWAY: &str = "deploy/Dockerfile";
const SIDECAR: &str = "deploy/Dockerfile.sidecar";

fn file(path: &str) -> String {
    let path = Path::new(ROOT).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The instructions, each with its words; lines that go on are one.
fn instructions(of: &str) -> Vec<(String, String)> {
    let lines: String = file(of)
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .map(|line| line.strip_suffix('\\').map_or_else(|| format!("{line}\n"), str::to_owned))
        .collect();
    let lines = lines.lines().filter(|line| !line.trim().is_empty());
    let split = |line: &str| line.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()));
    lines.map(|line| split(line).unwrap_or_else(|| panic!("{line:?} says nothing"))).collect()
}

/// What instructions of a name say, in order.
fn all<'i>(of: &'i [(String, String)], name: &str) -> Vec<&'i str> {
    of.iter().filter(|(instruction, _)| instruction == name).map(|(_, said)| &**said).collect()
}

/// The last stage, which is the image.
fn image(of: &[(String, String)]) -> &[(String, String)] {
    let last = of.iter().rposition(|(instruction, _)| instruction == "FROM");
    &of[last.expect("a stage")..]
}

/// A list of words in JSON.
fn words(said: &str) -> Vec<String> {
    serde_json::from_str(said).unwrap_or_else(|error| panic!("{said}: {error}"))
}

fn version(text: &str) -> (u32, u32) {
    let (major, minor) = text.split_once('.').unwrap_or_else(|| panic!("{text}: no version"));
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{text}: no number"));
    (number(major), number(minor))
}

#[test]
fn the_image_has_a_fixed_base_for_its_build_and_none_itself() {
    let all_of_it = instructions(GATEWAY);
    let bases = all(&all_of_it, "FROM");
    let [build, own] = bases[..] else { panic!("{bases:?}") };
    assert_eq!(own, "scratch");
    let build = build.strip_prefix("rust:").and_then(|build| build.strip_suffix(" AS build"));
    let (compiler, system) = build.and_then(|b| b.split_once('-')).expect("a version of Rust");
    assert_eq!(system, "bookworm");
    let manifest = file("Cargo.toml");
    let least = manifest.lines().find_map(|line| line.strip_prefix("rust-version = "));
    let least = least.expect("a version").trim_matches('"');
    assert!(version(compiler) >= version(least), "{compiler} is older than {least}");
    let flags = all(&all_of_it, "ENV");
    assert!(flags.contains(&"RUSTUP_TOOLCHAIN=$RUST_VERSION"), "another compiler is fetched");
    // There is nothing to link with in it.
    assert!(flags.contains(&"RUSTFLAGS=\"-C target-feature=+crt-static\""), "{flags:?}");
    let left_out = file("deploy/Dockerfile.dockerignore");
    for folder in [".git", "target"] {
        assert!(left_out.lines().any(|line| line == folder), "{folder} goes along");
    }
}

#[test]
fn whoever_runs_in_the_image_is_nobody_and_the_same_as_in_the_manifests() {
    let all_of_it = instructions(GATEWAY);
    let image = image(&all_of_it);
    let names: Vec<&str> = image.iter().map(|(instruction, _)| &**instruction).collect();
    assert_eq!(names, ["FROM", "COPY", "USER", "ENTRYPOINT", "CMD"], "nothing is run in it");
    let users = all(image, "USER");
    let (user, group) = users[0].split_once(':').expect("a user and a group");
    let manifests = file("deploy/manifests/ingressgateway.yaml");
    let documents = tidegate_yaml::parse(&manifests).into_iter();
    let mut documents = documents.map(|document| document.expect("YAML").root.to_json());
    let deployment = documents.find(|document| document["kind"] == "Deployment");
    let context = &deployment.expect("one")["spec"]["template"]["spec"]["securityContext"];
    for (field, said) in [("runAsUser", user), ("runAsGroup", group)] {
        let number: u32 = said.parse().expect("Kubernetes sees of a number that it is not root");
        assert_ne!(number, 0);
        assert_eq!(context[field], Value::from(number), "{field}");
    }
}

/// All flags are known: what the program says is that it is in no Pod.
#[test]
fn the_image_starts_with_flags_that_there_are() {
    let all_of_it = instructions(GATEWAY);
    let flags = words(all(image(&all_of_it), "CMD")[0]);
    let started = Command::new(env!("CARGO_BIN_EXE_tidegate")).args(flags).env_clear().output();
    let told = String::from_utf8_lossy(&started.expect("it runs").stderr).into_owned();
    assert!(told.contains("there is no kubeconfig"), "{told}");
}

/// Stands in for the compiler, which takes minutes: what it was asked for is noted, and what it makes is there.
const CARGO: &str = r#"#!/bin/sh
echo "$@" > "$NOTED"
while [ $# -gt 0 ]; do [ "$1" = --target ] && target="$2"; shift; done
mkdir -p "target/$target/release"
cp "$MADE" "target/$target/release/tidegate"
"#;

#[test]
fn its_commands_put_there_what_is_started() {
    if !Path::new("/etc/ssl/certs/ca-certificates.crt").is_file() {
        skip("there are no authorities of the system (ca-certificates) to put into the image");
        return;
    }
    let all_of_it = instructions(GATEWAY);
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    for name in ["bin", "src"] {
        fs::create_dir(at(name)).expect("a folder");
    }
    fs::write(at("bin/cargo"), CARGO).expect("written");
    fs::set_permissions(at("bin/cargo"), fs::Permissions::from_mode(0o755)).expect("a mode");
    let path = std::env::var("PATH").expect("a path");
    let made = "what was compiled";
    fs::write(at("made"), made).expect("written");
    for command in all(&all_of_it, "RUN") {
        let command = command.replace(" /image/", &format!(" {}/", at("image").display()));
        let ran = Command::new("sh")
            .args(["-ec", &command])
            .current_dir(at("src"))
            .env("PATH", format!("{}:{path}", at("bin").display()))
            .env("NOTED", at("noted"))
            .env("MADE", at("made"))
            .output()
            .expect("it runs");
        assert!(ran.status.success(), "{command}: {}", String::from_utf8_lossy(&ran.stderr));
    }
    let noted = fs::read_to_string(at("noted")).expect("noted");
    for flag in ["build", "--release", "--locked", "--bin tidegate"] {
        assert!(noted.contains(flag), "no {flag} in {noted}");
    }
    assert_eq!(all(image(&all_of_it), "COPY"), ["--from=build /image /"]);
    let program = &words(all(image(&all_of_it), "ENTRYPOINT")[0])[0];
    let program = at("image").join(program.trim_start_matches('/'));
    assert_eq!(fs::read_to_string(&program).expect("it is there"), made);
    let mode = fs::metadata(&program).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o111, 0o111, "everybody may run it");
    // Where programs look for the authorities of the system.
    let authorities = at("image").join("etc/ssl/certs/ca-certificates.crt");
    let mode = fs::metadata(authorities).expect("authorities").permissions().mode();
    assert_eq!(mode & 0o444, 0o444, "everybody may read it");
}

/// It is called by the name of Istio's program, runs as the user whose connections are not redirected, and has what sets up the
/// redirection beside it.
#[test]
fn the_image_of_sidecars_has_the_program_by_istios_name_and_those_that_it_calls() {
    let (gateway, sidecar) = (instructions(GATEWAY), instructions(SIDECAR));
    assert_eq!(all(&sidecar, "ARG"), ["TIDEGATE=tidegate"]);
    assert_eq!(all(&sidecar, "FROM"), ["${TIDEGATE} AS gateway", "debian:bookworm-slim"]);
    let image = image(&sidecar);
    assert_eq!(all(image, "COPY"), ["--from=gateway / /"]);
    let [install, link] = all(image, "RUN")[..] else { panic!("{image:?}") };
    // Those are the packages of which the program says that they are to be installed.
    for package in ["iptables", "iproute2"] {
        assert!(install.split_whitespace().any(|word| word == package), "no {package}: {install}");
    }
    let program = words(all(self::image(&gateway), "ENTRYPOINT")[0]);
    let called = words(all(image, "ENTRYPOINT")[0]);
    let called = called[0].as_str();
    let name = program[0].rsplit('/').next().expect("a name");
    assert_eq!(link, format!("ln -s {name} {called}"));
    assert_eq!(Path::new(called).parent(), Path::new(&program[0]).parent());
    let user = all(image, "USER")[0];
    let capture = Command::new(env!("CARGO_BIN_EXE_tidegate")).args(["capture", "print"]).output();
    let rules = String::from_utf8(capture.expect("it runs").stdout).expect("text");
    let (user, group) = user.split_once(':').expect("a user and a group");
    for owner in [format!("--uid-owner {user} "), format!("--gid-owner {group} ")] {
        assert!(rules.contains(&owner), "{owner} is led away: {rules}");
    }
}

/// Makes a root in which there is nothing but what the image has, and what every container is given beside it: the names that it
/// knows, a resolver, `/proc` and `/dev`. What follows is run there by nobody, who can write nothing. `$1` is the folder, `$2` the
/// program, `$3` the kubeconfig, `$4` the libraries that a program needs which is not linked statically, as the tests' is not.
const EMPTY_ROOT: &str = r#"
root=$1 program=$2 kubeconfig=$3 libraries=$4; shift 4
mount -t tmpfs none "$root"
put() { mkdir -p "$root${2%/*}"; : > "$root$2"; mount --bind "$1" "$root$2"; }
put "$program" /usr/bin/tidegate
put "$kubeconfig" /kubeconfig
for library in $libraries; do put "$(readlink -f "$library")" "$library"; done
[ ! -f /etc/ssl/certs/ca-certificates.crt ] || put /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
mkdir "$root/proc" "$root/dev" && mount --rbind /proc "$root/proc" && mount --rbind /dev "$root/dev"
echo "127.0.0.1 api.example localhost" > "$root/etc/hosts"
echo "nameserver 127.0.0.1" > "$root/etc/resolv.conf"
mount -o remount,ro "$root"
exec unshare --root="$root" --wd=/ --setgid=65532 --setuid=65532 /usr/bin/tidegate "$@"
"#;

/// The shared libraries of the program.
fn libraries() -> String {
    let mut asked = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let told = asked.env("LD_TRACE_LOADED_OBJECTS", "1").output().expect("it runs").stdout;
    let told = String::from_utf8(told).expect("text");
    let path = |word: &&str| word.starts_with('/');
    told.lines().filter_map(|line| line.split_whitespace().find(path)).collect::<Vec<_>>().join(" ")
}

async fn hello(_: Request<Incoming>) -> Response<Body> {
    Response::new(full("hello".to_owned()))
}

/// No shell, no users, nothing to write to, and a server that has a name: nothing asks for what is not in the image.
/// `TIDEGATE_STATIC` names a program that is linked as the image's is, to be tried in place of the tests' own.
#[tokio::test]
async fn a_gateway_needs_nothing_but_what_is_in_the_image() {
    let Some(unshare) = Tool::Unshare.need() else { return };
    let possible = Command::new(&unshare).args(["--mount", "true"]).output();
    if !is_root() || !possible.is_ok_and(|output| output.status.success()) {
        skip("only root can start a program as somebody else, in another root");
        return;
    }
    let server = ApiServer::start().await;
    let mut api = server.client().await;
    let origin = Origin::start().http(hello).await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    api.create("serviceentries", &objects::host("origin", "origin.example", origin.address()))
        .await;
    let route = objects::route("a", "web", "a.example", "origin.example");
    api.create("virtualservices", &route).await;

    let folder = tempfile::tempdir().expect("a folder");
    let kubeconfig = folder.path().join("kubeconfig");
    let own = fs::read_to_string(server.kubeconfig()).expect("a kubeconfig");
    let by_name = own.replace("https://127.0.0.1:", "https://localhost:");
    assert_ne!(own, by_name);
    fs::write(&kubeconfig, by_name).expect("written");
    fs::set_permissions(&kubeconfig, fs::Permissions::from_mode(0o644)).expect("a mode");
    let root = folder.path().join("root");
    fs::create_dir(&root).expect("a folder");

    let mut gateway = AsyncCommand::new(unshare);
    gateway.args(["--mount", "sh", "-euc", EMPTY_ROOT, "sh"]).arg(root);
    let program = std::env::var_os("TIDEGATE_STATIC");
    let libraries = if program.is_some() { String::new() } else { libraries() };
    gateway.arg(program.unwrap_or_else(|| env!("CARGO_BIN_EXE_tidegate").into()));
    gateway.arg(&kubeconfig).arg(libraries);
    gateway.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let gateway = Attached::started(gateway, Some(Path::new("/kubeconfig")), &[]).await;
    gateway.ready().await;
    gateway.answers("a.example", 200).await;
}
