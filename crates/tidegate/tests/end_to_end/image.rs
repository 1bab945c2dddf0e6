//! `deploy/Dockerfile`, as far as it can be judged without a builder of images: what it is made from, who runs in it, and that its
//! commands put there what is started.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tidegate_testing::tools::skip;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn file(path: &str) -> String {
    let path = Path::new(ROOT).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The instructions, each with its words; lines that go on are one.
fn instructions() -> Vec<(String, String)> {
    let lines: String = file("deploy/Dockerfile")
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
    let all_of_it = instructions();
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
    let all_of_it = instructions();
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
    let all_of_it = instructions();
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
    let all_of_it = instructions();
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
