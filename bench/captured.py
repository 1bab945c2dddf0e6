#!/usr/bin/env python3
"""What a sidecar costs behind rules of capture: Tidegate beside Envoy on the same xDS, rounds interleaved.

A workload in a network namespace of its own, whose connections `tidegate capture apply` leads to the sidecar, asks origins at the
other end of a pair of interfaces. `tidegate sidecar` runs on manifests; Envoy runs on what that sidecar's /config_dump shows.
The figure is the user and system CPU of the proxy per connection or request. Needs root, iproute2 and iptables.
"""
import argparse, ctypes, json, os, pathlib, signal, socket, ssl, statistics, subprocess, sys, tempfile, time, urllib.error, urllib.request

PEERS = ["tidegate", "envoy"]
ORIGIN, WORKLOAD, ADMIN = "10.77.0.2", "10.77.0.100", "http://127.0.0.1:15000"
# The group whose connections the rules let through, as those of Istio's user of the same number.
PROXY = 1337
PROXY_CORE, LOAD_CORE = {0}, {1}
CLIENTS, KEPT = 4, 16
BODY = b"x" * 1024
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 1024\r\n\r\n" + BODY
REQUEST = b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n"
TICK = os.sysconf("SC_CLK_TCK")


def hello(name):
    """What a client begins TLS with. The proxy only looks for the name in it: the rest of the connection is bytes to it."""
    sent = ssl.MemoryBIO()
    try:
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        return sent.read()


# What is measured: the origin's port, what is said, and whether connections are kept.
CASES = {
    "http-connections": (8080, REQUEST % b"web.example", False),
    "http-requests": (8080, REQUEST % b"web.example", True),
    "sniffed-connections": (8081, REQUEST % b"any.example", False),
    "tcp-connections": (8082, REQUEST % b"raw.example", False),
    "tls-connections": (8443, hello("tls.example") + b"\r\n\r\n", False),
}
MANIFESTS = "\n---\n".join(
    f"""apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{name}.example]
  addresses: [{ORIGIN}]
  ports: [{{number: {port}, name: own{protocol}}}]
  resolution: STATIC
  endpoints: [{{address: {ORIGIN}}}]"""
    for name, port, protocol in [
        ("web", 8080, ", protocol: HTTP"),
        ("any", 8081, ""),
        ("raw", 8082, ", protocol: TCP"),
        ("tls", 8443, ", protocol: TLS"),
    ]
)


def run(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def enter(namespace):
    """Has this process, and what it starts, be in a network namespace."""
    with open(namespace) as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0x40000000):
            sys.exit(f"{namespace}: {os.strerror(ctypes.get_errno())}")


def lay_out():
    """The origin's end here, the workload's in a namespace that lasts as long as its holder."""
    holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    holder.stdout.readline()
    inside = ["nsenter", f"--net=/proc/{holder.pid}/ns/net", "--"]
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "net0", "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
    run("ip", "address", "add", f"{ORIGIN}/24", "dev", "net0")
    run("ip", "link", "set", "net0", "up")
    run(*inside, "ip", "address", "add", f"{WORKLOAD}/24", "dev", "eth0")
    for device in ["lo", "eth0"]:
        run(*inside, "ip", "link", "set", device, "up")
    # More connections than ports end in a minute of TIME_WAIT.
    for setting in ["net.ipv4.tcp_tw_reuse=1", "net.ipv4.ip_local_port_range=1024 65000"]:
        run(*inside, "sysctl", "-qw", setting)
    return holder, inside


# === origin and clients ===


def serve(port, inherited):
    """An origin: answers everything that ends as a head does."""
    import asyncio

    class Origin(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(ANSWER * data.count(b"\r\n\r\n"))

    async def forever():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Origin, ORIGIN, port, backlog=1024)
        os.write(inherited, b".")
        await server.serve_forever()

    asyncio.run(forever())


def read_answer(stream):
    left = len(BODY)
    head = b""
    while b"\r\n\r\n" not in head:
        more = stream.recv(65536)
        if not more:
            raise OSError(f"closed after {head!r}")
        head += more
    if not head.startswith(b"HTTP/1.1 200"):
        raise OSError(f"answered {head[:200]!r}")
    left -= len(head.split(b"\r\n\r\n", 1)[1])
    while left:
        left -= len(stream.recv(left))


def ask(case, until):
    """A client: how many connections were served, or requests answered, before a time."""
    port, request, kept = CASES[case]
    count = 0
    if not kept:
        while time.monotonic() < until:
            with socket.create_connection((ORIGIN, port)) as stream:
                stream.sendall(request)
                read_answer(stream)
            count += 1
        return count
    streams = [socket.create_connection((ORIGIN, port)) for _ in range(KEPT)]
    for stream in streams:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while time.monotonic() < until:
        for stream in streams:
            stream.sendall(request)
        for stream in streams:
            read_answer(stream)
        count += KEPT
    return count


def load(case, secs, namespace):
    """All clients at once; what they counted."""
    until, children = time.monotonic() + secs, []
    for _ in range(CLIENTS):
        read, write = os.pipe()
        child = os.fork()
        if not child:
            os.sched_setaffinity(0, LOAD_CORE)
            enter(namespace)
            try:
                os.write(write, str(ask(case, until)).encode())
            except OSError as error:
                os.write(write, str(error).encode())
            os._exit(0)
        os.close(write)
        children.append((child, read))
    counts = []
    for child, read in children:
        counts.append(os.read(read, 4096).decode())
        os.close(read)
        os.waitpid(child, 0)
    if not all(count.isdigit() for count in counts):
        sys.exit(f"{case}: {counts}")
    return sum(map(int, counts))


# === the peers ===


def start(command, inside, log):
    """Starts a proxy of the group that is let through; done when it serves."""

    def own():
        os.sched_setaffinity(0, PROXY_CORE)
        os.setgroups([])
        os.setgid(PROXY)

    process = subprocess.Popen(inside + command, stdout=subprocess.DEVNULL, stderr=log, preexec_fn=own)
    for _ in range(600):
        try:
            if fetch("/ready").strip() == b"LIVE":
                return process
        except OSError:
            pass
        if process.poll() is not None:
            break
        time.sleep(0.05)
    sys.exit(f"{command[0]} does not serve:\n{pathlib.Path(log.name).read_text()}")


def fetch(path):
    with urllib.request.urlopen(ADMIN + path, timeout=10) as answer:
        return answer.read()


def stop(process):
    process.send_signal(signal.SIGTERM)
    process.wait()


def cpu(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) / TICK, int(fields[12]) / TICK


def bootstrap(dump):
    """What a /config_dump shows, as static resources; routes are put where listeners name them."""
    listeners, clusters, routes = [], [], {}
    for part in dump["configs"]:
        listeners += [one["active_state"]["listener"] for one in part.get("dynamic_listeners", []) if "active_state" in one]
        clusters += [one["cluster"] for one in part.get("dynamic_active_clusters", [])]
        for one in part.get("dynamic_route_configs", []):
            routes[one["route_config"]["name"]] = one["route_config"]
    assignments = {}
    for part in dump["configs"]:
        for one in part.get("dynamic_endpoint_configs", []) + part.get("static_endpoint_configs", []):
            assignments[one["endpoint_config"]["cluster_name"]] = one["endpoint_config"]
    for listener in listeners:
        # Of peers in mutual TLS, whose certificate would come by xDS. They are not measured.
        listener["filter_chains"] = [one for one in listener["filter_chains"] if "transport_socket" not in one]
        for chain in listener.get("filter_chains", []) + [listener.get("default_filter_chain", {})]:
            for filter in chain.get("filters", []):
                config = filter["typed_config"]
                if "rds" in config:
                    config["route_config"] = routes[config.pop("rds")["route_config_name"]]
                    config["route_config"]["validate_clusters"] = False
    for cluster in clusters:
        if cluster.pop("eds_cluster_config", None) is not None:
            cluster["type"] = "STATIC"
            cluster["load_assignment"] = assignments[cluster["name"]]
    for resource in listeners + clusters + [*routes.values(), *assignments.values()]:
        resource.pop("@type", None)
    admin = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 15000}}}
    return {"admin": admin, "static_resources": {"listeners": listeners, "clusters": clusters}}


def measure(args, folder, inside, namespace):
    manifests, log = folder / "manifests.yaml", open(folder / "proxy.log", "w")
    manifests.write_text(MANIFESTS)
    tidegate = [args.tidegate, "sidecar", "-f", str(manifests), "--workers", "1", "--log-level", "error"]
    tidegate += ["--run-as", f"0:{PROXY}"]
    process = start(tidegate, inside, log)
    dump = json.loads(fetch("/config_dump?include_eds"))
    stop(process)
    config = folder / "envoy.json"
    config.write_text(json.dumps(bootstrap(dump)))
    envoy = [args.envoy, "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    commands = {"tidegate": tidegate, "envoy": envoy}
    found = {}
    for case in args.cases:
        for round in range(args.rounds):
            for peer in PEERS:
                process = start(commands[peer], inside, log)
                load(case, 1, namespace)
                before = cpu(process)
                count = load(case, args.secs, namespace)
                # What ends with the last connections is theirs.
                time.sleep(0.2)
                user, system = (after - start for after, start in zip(cpu(process), before))
                stop(process)
                found.setdefault((case, peer), []).append(((user + system) / count * 1e6, user / count * 1e6))
                print(f"{case} {peer} round {round + 1}: {count} in {args.secs} s, {(user + system) / count * 1e6:.1f} µs each", file=sys.stderr)
    return found


def report(found):
    print("| case | Tidegate | user / system | spread | Envoy | of Envoy |\n|---|---|---|---|---|---|")
    for case in dict.fromkeys(case for case, _ in found):
        ours, theirs = found[case, "tidegate"], found[case, "envoy"]
        whole, user = (statistics.median(round[part] for round in ours) for part in (0, 1))
        other = statistics.median(round[0] for round in theirs)
        spread = (max(ours)[0] - min(ours)[0]) / whole
        print(f"| {case} | {whole:.1f} | {user:.1f} / {whole - user:.1f} | {spread:.0%} | {other:.1f} | **{whole / other:.2f}** |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tidegate", default="target/release/tidegate", help="a release build")
    parser.add_argument("--envoy", default=os.environ.get("ENVOY", "envoy"))
    parser.add_argument("--cases", default=",".join(CASES), type=lambda text: text.split(","))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--secs", type=float, default=5)
    args = parser.parse_args()
    if os.geteuid():
        sys.exit("namespaces take root")
    args.tidegate = str(pathlib.Path(args.tidegate).resolve())
    # A namespace of its own, which goes with this process and what it has started.
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000):
        sys.exit(os.strerror(ctypes.get_errno()))
    holder, inside = lay_out()
    namespace = f"/proc/{holder.pid}/ns/net"
    origins = []
    try:
        for port in sorted({port for port, _, _ in CASES.values()}):
            ready, told = os.pipe()
            origin = os.fork()
            if not origin:
                os.sched_setaffinity(0, LOAD_CORE)
                serve(port, told)
            origins.append(origin)
            os.read(ready, 1)
        run(*inside, args.tidegate, "capture", "apply", "-i", "*", "-b", "*")
        enter(namespace)
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            report(measure(args, pathlib.Path(folder), [], namespace))
    finally:
        for origin in origins:
            os.kill(origin, signal.SIGTERM)
        holder.stdin.close()
        holder.wait()


if __name__ == "__main__":
    main()
