#!/usr/bin/env python3
"""What a connection at rest holds: resident memory of octroi after so many TLS connections were opened one after another, less before.

    idle.py OCTROI [--connections 2000] [--app target/debug/examples/demo_app]

HTTP/1.1 rests behind its first answer (a session, a request to the app), HTTP/2 behind the prefaces of both sides. A hundred
connections of that kind are opened and closed first, so that what the program makes once is not counted. Python alone, loopback only."""
import argparse, os, shutil, signal, socket, ssl, subprocess, sys, tempfile, time, urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def resident(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def connect(port, context):
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=30), server_hostname="acme.test")


def http1(port, context, token):
    stream = connect(port, context)
    stream.sendall(f"GET / HTTP/1.1\r\nhost: acme.test\r\ncookie: __Host-octroi={token}\r\nuser-agent: idle\r\naccept: */*\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += stream.recv(65536) or sys.exit("the connection ended")
    head, body = answer.split(b"\r\n\r\n", 1)
    if b" 200 " not in head.split(b"\r\n")[0]:
        sys.exit(f"not 200: {head!r}")
    length = int(next(line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")))
    while len(body) < length:
        body += stream.recv(65536) or sys.exit("the connection ended")
    return stream


def http2(port, context, _):
    stream = connect(port, context)
    if stream.selected_alpn_protocol() != "h2":
        sys.exit("no HTTP/2")
    stream.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0" + b"\0\0\0\4\1\0\0\0\0")
    seen = b""
    while b"\0\0\0\4\1\0\0\0\0" not in seen:    # its acknowledgement of our settings, behind its own
        seen += stream.recv(65536) or sys.exit("the connection ended")
    return stream


def measure(a, name, protocol, alpn):
    """One kind in a process of its own: what the allocator keeps of the other kind would hide it."""
    work = tempfile.mkdtemp()
    port, metrics, app_port = free_port(), free_port(), free_port()
    environment = dict(os.environ, BENCH_PORT=str(port), BENCH_METRICS_PORT=str(metrics), BENCH_APP_PORT=str(app_port))
    with open(os.path.join(HERE, "instructions.yaml")) as file:
        text = file.read().replace("max_connections_per_client: 1000", "max_connections_per_client: 10000")
    config = os.path.join(work, "octroi.yaml")
    with open(config, "w") as file:
        file.write(text + "limits: {idle_timeout: 30m}\naccess_log: [{to: file, path: access.json}]\n")
    os.mkdir(os.path.join(work, "state"))
    started = []
    try:
        subprocess.run([a.octroi, "keys", "init", "--config", config], env=environment, check=True, stdout=subprocess.DEVNULL)
        started.append(subprocess.Popen([a.app, f"127.0.0.1:{app_port}"], stdout=subprocess.DEVNULL))
        gate = subprocess.Popen([a.octroi, "run", "--config", config, "--log-level", "error"], env=environment)
        started.append(gate)
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{metrics}/readyz", timeout=2)
                break
            except OSError:
                time.sleep(0.1)
        # Behind the start: what was made before the revocation journal began is refused.
        token = subprocess.run([a.octroi, "session", "mint", "--config", config, "--tenant", "acme", "--user", "u_alice", "--role", "editor",
                                "--role", "viewer", "--epoch", "0"], env=environment, check=True, capture_output=True, text=True).stdout.strip()
        context = ssl.create_default_context(cafile=os.path.join(work, "certs/ca.pem"))
        context.set_alpn_protocols([alpn])
        for warm in [protocol(port, context, token) for _ in range(100)]:
            warm.close()
        time.sleep(2)    # what the closed ones held is given back
        before = resident(gate.pid)
        held = [protocol(port, context, token) for _ in range(a.connections)]
        after = resident(gate.pid)
        print(f"{name}: {(after - before) / len(held):.1f} KiB per connection ({before} to {after} KiB with {len(held)})", flush=True)
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
        shutil.rmtree(work, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("octroi")
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--app", default=os.path.join(HERE, "../target/debug/examples/demo_app"))
    a = parser.parse_args()
    for name, protocol, alpn in (("h1", http1, "http/1.1"), ("h2", http2, "h2")):
        measure(a, name, protocol, alpn)


if __name__ == "__main__":
    main()
