//! What `capture print` prints, loaded by the system's own programs: what each option names comes to the proxy, and what it does not
//! name does not, in both address families.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::{done, has_legacy, text};
use crate::support::captured::{ORIGINS, WORKLOAD, World};
use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use socket2::SockRef;

/// An address of IPv4, and one of IPv6.
type Host = [&'static str; 2];

const NEAR: Host = [ORIGINS[0], ORIGINS[2]];
const FAR: Host = ["10.78.0.2", "fd78::2"];
/// Behind the workload's second interface.
const BEHIND: Host = ["10.79.0.2", "fd79::2"];
/// Behind the workload, by the interface of its virtual machine.
const BEYOND: Host = ["10.80.0.2", "fd80::2"];
/// The workload by its second interface, and by that of its virtual machine.
const SECOND: Host = ["10.81.0.100", "fd81::100"];
const MACHINE: Host = ["10.82.0.100", "fd82::100"];
const LOOPBACK: Host = ["127.0.0.1", "::1"];

/// Who is there at the other end says which of these it is.
const ORIGIN: &str = "an origin";
const ITSELF: &str = "the workload";
const OUTBOUND: &str = "port 15001";
const INBOUND: &str = "port 15006";
const RESOLVER: &str = "port 15053";
const OTHER_OUTBOUND: &str = "port 16001";
const OTHER_INBOUND: &str = "port 16006";

const PATIENCE: Duration = Duration::from_secs(20);

/// Options, with who is reached then.
struct Scene {
    options: &'static str,
    dials: Vec<Dial>,
}

/// A connection or a query.
#[derive(Clone, Copy)]
struct Dial {
    to: Host,
    port: u16,
    reaches: &'static str,
    from: From,
    udp: bool,
}

#[derive(Clone, Copy, Debug)]
enum From {
    Outside,
    /// A process of the workload, of this user and group.
    Workload(u32, u32),
}

fn out(to: Host, port: u16, reaches: &'static str) -> Dial {
    Dial { to, port, reaches, from: From::Workload(0, 0), udp: false }
}

fn inward(to: Host, port: u16, reaches: &'static str) -> Dial {
    Dial { from: From::Outside, ..out(to, port, reaches) }
}

fn query(to: Host, reaches: &'static str) -> Dial {
    Dial { udp: true, ..out(to, 53, reaches) }
}

impl Dial {
    fn of(self, user: u32, group: u32) -> Self {
        Self { from: From::Workload(user, group), ..self }
    }
}

fn scene(options: &'static str, dials: impl Into<Vec<Dial>>) -> Scene {
    Scene { options, dials: dials.into() }
}

/// What goes out, by where it goes.
fn outbound() -> Vec<Scene> {
    vec![
        scene("", [out(FAR, 80, ORIGIN), inward(WORKLOAD, 80, ITSELF)]),
        scene(
            "-i 10.78.0.0/16,fd78::/32",
            [out(FAR, 80, OUTBOUND), out(NEAR, 80, ORIGIN), out(LOOPBACK, 80, ITSELF)],
        ),
        // The stronger of two that name the same.
        scene(
            "-i * -x 10.78.0.2,fd78::2 -q 80",
            [out(NEAR, 8080, OUTBOUND), out(FAR, 8080, ORIGIN), out(FAR, 80, ORIGIN)],
        ),
        scene("-q 8080", [out(FAR, 8080, OUTBOUND), out(FAR, 80, ORIGIN)]),
        scene("-i * -o 8080 -q 8080", [out(FAR, 80, OUTBOUND), out(FAR, 8080, ORIGIN)]),
        scene(
            "-i * -b * -p 16001 -z 16006",
            [out(FAR, 80, OTHER_OUTBOUND), inward(WORKLOAD, 80, OTHER_INBOUND)],
        ),
    ]
}

/// What goes out, by who sends it.
fn owners() -> Vec<Scene> {
    vec![
        scene(
            "-i *",
            [
                out(FAR, 80, OUTBOUND),
                out(FAR, 80, OUTBOUND).of(7, 8),
                out(FAR, 80, ORIGIN).of(1337, 0),
                out(FAR, 80, ORIGIN).of(0, 1337),
                // What the proxy sends to its workload by an address of the network is inbound; the workload speaks to itself directly.
                out(WORKLOAD, 80, INBOUND).of(1337, 1337),
                out(WORKLOAD, 80, ITSELF),
            ],
        ),
        scene(
            "-i * -u 2000,2001 -g 3000",
            [
                out(FAR, 80, ORIGIN).of(2000, 0),
                out(FAR, 80, ORIGIN).of(2001, 0),
                out(FAR, 80, ORIGIN).of(0, 3000),
                out(FAR, 80, OUTBOUND).of(1337, 1337),
            ],
        ),
        scene(
            "-i * --include-owner-groups 700,701",
            [
                out(FAR, 80, OUTBOUND).of(0, 700),
                out(FAR, 80, OUTBOUND).of(0, 701),
                out(FAR, 80, ORIGIN).of(0, 0),
            ],
        ),
        scene(
            "-i * --exclude-owner-groups 700,701",
            [
                out(FAR, 80, ORIGIN).of(0, 700),
                out(FAR, 80, ORIGIN).of(0, 701),
                out(FAR, 80, OUTBOUND).of(0, 0),
            ],
        ),
    ]
}

/// What comes in, and what has to do with interfaces.
fn inbound() -> Vec<Scene> {
    vec![
        scene("-b 80,9000", [inward(WORKLOAD, 9000, INBOUND), inward(WORKLOAD, 81, ITSELF)]),
        scene("-b * -d 81", [inward(WORKLOAD, 80, INBOUND), inward(WORKLOAD, 81, ITSELF)]),
        // Tunnels come to the proxy by themselves.
        scene("-b *", [inward(WORKLOAD, 15008, ITSELF), inward(WORKLOAD, 9000, INBOUND)]),
        scene("-b * -e 9000", [inward(WORKLOAD, 15008, INBOUND), inward(WORKLOAD, 9000, ITSELF)]),
        scene(
            "-m TPROXY -i * -b 80",
            [inward(WORKLOAD, 80, INBOUND), inward(WORKLOAD, 81, ITSELF), out(FAR, 80, OUTBOUND)],
        ),
        scene(
            "-m TPROXY -b * -d 81 --drop-invalid",
            [
                inward(WORKLOAD, 80, INBOUND),
                inward(WORKLOAD, 81, ITSELF),
                out(WORKLOAD, 80, ITSELF),
                out(LOOPBACK, 80, ITSELF),
            ],
        ),
        scene(
            "-i * -b * -c eth1",
            [
                out(BEHIND, 80, ORIGIN),
                inward(SECOND, 80, ITSELF),
                out(FAR, 80, OUTBOUND),
                inward(WORKLOAD, 80, INBOUND),
            ],
        ),
        scene(
            "-m TPROXY -b * -c eth1",
            [inward(SECOND, 80, ITSELF), inward(WORKLOAD, 80, INBOUND)],
        ),
        scene(
            "-i 10.80.0.0/16,fd80::/32 -b * -k eth2",
            [
                inward(BEYOND, 80, OUTBOUND),
                inward(MACHINE, 80, ITSELF),
                inward(WORKLOAD, 80, INBOUND),
            ],
        ),
    ]
}

/// Queries, of which those of the resolver itself go out.
fn queries() -> Vec<Scene> {
    vec![
        scene("-i 10.77.0.0/16,fd77::/32", [query(FAR, ORIGIN), out(FAR, 53, ORIGIN)]),
        scene(
            "--redirect-dns --capture-all-dns",
            [
                query(FAR, RESOLVER),
                out(FAR, 53, RESOLVER),
                query(FAR, ORIGIN).of(1337, 1337),
                out(FAR, 53, ORIGIN).of(1337, 1337),
                out(FAR, 80, ORIGIN),
            ],
        ),
        // The server of the file that names servers is this one.
        scene(
            "-i 10.77.0.0/16,fd77::/32 --redirect-dns",
            [
                query(NEAR, RESOLVER),
                out(NEAR, 53, RESOLVER),
                query(FAR, ORIGIN),
                out(FAR, 53, ORIGIN),
            ],
        ),
    ]
}

#[test]
fn what_is_printed_captures_what_it_says() {
    let Some(world) = set_up() else { return };
    probe(&world, "");
}

#[test]
fn what_is_printed_captures_the_same_by_legacy_tables() {
    let Some(world) = set_up() else { return };
    if !has_legacy() {
        return;
    }
    probe(&world, "-legacy");
}

/// Loads what is printed for each scene, by the programs with this in their names, and dials.
fn probe(world: &World, suffix: &str) {
    let mut wrong = Vec::new();
    let scenes = [outbound(), owners(), inbound(), queries()].into_iter().flatten();
    for Scene { options, dials } in scenes {
        for (family, program, place) in [("ipv4", "iptables", 0), ("ipv6", "ip6tables", 1)] {
            let printed = printed(world, options, family);
            let restore = format!("{program}{suffix}-restore");
            load(world, &restore, &["--noflush"], &printed);
            let routes = printed.lines().filter_map(|line| line.strip_prefix("# ip "));
            routes.for_each(|words| done(world.command("ip").args(words.split(' '))));
            for dial in &dials {
                let reached = reached(world, *dial, place);
                if reached != dial.reaches {
                    let Dial { to, port, from, reaches, udp } = dial;
                    let protocol = if *udp { "udp" } else { "tcp" };
                    wrong.push(format!(
                        "{options:?}: {from:?} to {} {protocol} {port} reaches {reached}, not {reaches}",
                        to[place]
                    ));
                }
            }
            // Restoring without --noflush leaves a table as it is written.
            load(world, &restore, &[], "*mangle\nCOMMIT\n*nat\nCOMMIT\n*raw\nCOMMIT\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What is printed, with one server of each family in the file that names servers.
fn printed(world: &World, options: &str, family: &str) -> String {
    let conf = format!("nameserver {}\nnameserver {}\n", NEAR[0], NEAR[1]);
    let conf = world.file("resolv.conf", &conf);
    let script = format!("mount --bind {conf} /etc/resolv.conf && exec \"$0\" \"$@\"");
    let mut command = world.command("unshare");
    command.args(["--mount", "sh", "-c", &script, env!("CARGO_BIN_EXE_tidegate")]);
    command.args(["capture", "print", "--family", family]).args(options.split_whitespace());
    let output = command.output().expect("a program");
    assert!(output.status.success(), "{options}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn load(world: &World, restore: &str, flags: &[&str], rules: &str) {
    let mut command = world.command(restore);
    command.args(flags).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("a program");
    let stdin = child.stdin.take();
    stdin.expect("a pipe").write_all(rules.as_bytes()).expect("a program that reads");
    let output = child.wait_with_output().expect("its end");
    assert!(output.status.success(), "{restore}: {}\n{rules}", text(&output.stderr));
}

/// Who says what it is at the other end, or why nobody does.
fn reached(world: &World, dial: Dial, place: usize) -> String {
    let to: IpAddr = dial.to[place].parse().expect("an address");
    let to = SocketAddr::new(to, dial.port);
    let ask = move || if dial.udp { asked(to) } else { greeted(to) };
    let said = match dial.from {
        From::Outside => ask(),
        From::Workload(user, group) => world.inside(move || {
            become_of(user, group)?;
            ask()
        }),
    };
    said.unwrap_or_else(|error| format!("nobody: {error}"))
}

/// Has this thread alone be of a user and group. There is no way back.
fn become_of(user: u32, group: u32) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    Ok(())
}

fn greeted(to: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

fn asked(to: SocketAddr) -> io::Result<String> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(to)?;
    socket.send(b"?")?;
    let mut said = [0; 64];
    let length = socket.recv(&mut said)?;
    Ok(text(&said[..length]))
}

/// A workload with three interfaces, and around it who says what it is.
fn set_up() -> Option<World> {
    let world = World::new()?;
    let test = std::process::id();
    let mut inside = String::new();
    let mut outside = String::new();
    for (own, peer, network) in [("eth1", "net1", 81), ("eth2", "net2", 82)] {
        inside += &format!(
            "ip link add {own} type veth peer name {peer} netns {test}
             ip link set {own} up
             ip address add 10.{network}.0.100/24 dev {own}
             ip address add fd{network}::100/64 dev {own} nodad\n"
        );
        outside += &format!(
            "ip link set {peer} up
             ip address add 10.{network}.0.1/24 dev {peer}
             ip address add fd{network}::1/64 dev {peer} nodad\n"
        );
    }
    for host in [FAR, BEHIND].as_flattened() {
        outside += &format!("ip address add {host} dev lo\n");
    }
    outside += "ip route add 10.80.0.0/16 via 10.82.0.100\nip route add fd80::/32 via fd82::100\n";
    done(world.command("sh").args(["-e", "-c", &inside]));
    done(Command::new("sh").args(["-e", "-c", &outside]));
    let routes = "ip route add 10.79.0.0/16 via 10.81.0.1\nip route add fd79::/32 via fd81::1\n";
    done(world.command("sh").args(["-e", "-c", routes]));

    let inside = |work: fn() -> io::Result<()>| world.inside(work).expect("ports of the workload");
    inside(|| {
        [80, 81, 9000, 15008].into_iter().try_for_each(|port| greet(port, ITSELF))?;
        greet(15001, OUTBOUND)?;
        greet(15006, INBOUND)?;
        greet(16001, OTHER_OUTBOUND)?;
        greet(16006, OTHER_INBOUND)?;
        greet(15053, RESOLVER)?;
        // Rules know answers of the resolver by its user.
        become_of(1337, 1337)?;
        LOOPBACK.iter().try_for_each(|host| answer(host, 15053, RESOLVER))
    });
    [53, 80, 8080].into_iter().try_for_each(|port| greet(port, ORIGIN)).expect("ports of ours");
    let servers = [NEAR, FAR];
    let mut servers = servers.as_flattened().iter();
    servers.try_for_each(|host| answer(host, 53, ORIGIN)).expect("addresses of ours");
    Some(world)
}

/// Tells every connection to a port who is there, whatever address it is for.
fn greet(port: u16, who: &'static str) -> io::Result<()> {
    let listener = TcpListener::bind(("::", port))?;
    // With TPROXY, connections come by addresses that are not this machine's.
    SockRef::from(&listener).set_ip_transparent_v6(true)?;
    thread::spawn(move || {
        for stream in listener.incoming() {
            // Who has gone asks no more.
            let _ = stream.and_then(|mut stream| stream.write_all(who.as_bytes()));
        }
    });
    Ok(())
}

/// Tells every query at an address who is there.
fn answer(host: &str, port: u16, who: &'static str) -> io::Result<()> {
    let address: IpAddr = host.parse().expect("an address");
    let socket = UdpSocket::bind((address, port))?;
    thread::spawn(move || {
        while let Ok((_, client)) = socket.recv_from(&mut [0; 64]) {
            let _ = socket.send_to(who.as_bytes(), client);
        }
    });
    Ok(())
}
