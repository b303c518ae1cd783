#!/usr/bin/env python3
"""Writes octroi's configuration for the comparison with other proxies (../shared/bench): WORK/octroi-VARIANT.yaml and what it names.

bare: TLS, HTTP and one upstream, every path public. policy: beside it what the peers enforce there: per tenant its ranges, two
quotas (by client and by tenant), a session on every path, a JSON access line per request in a file, metrics.
The session key is a fixed one, so that a cookie minted before the run opens in it. It protects nothing."""
import argparse, base64, hashlib, os, random


def ranges(tenant, tenants, count):
    """The same ranges as the peers' (peers.py, Policy.cidrs): the client's is the last, and the last tenant has it not."""
    dice, found = random.Random(tenant), []
    for _ in range(count - 1):
        first = dice.choice([5, 23, 31, 45, 62, 77, 81, 91, 103, 146, 185, 193, 203, 212])
        prefix = dice.choice([16, 20, 22, 24, 24, 24])
        address = (first << 24 | dice.getrandbits(24)) & (0xFFFFFFFF << (32 - prefix)) & 0xFFFFFFFF
        found.append(f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}/{prefix}")
    return sorted(set(found)) + ["127.0.0.0/8" if tenant != tenants - 1 else "10.0.0.0/8"]


def write(path, text, mode=0o644):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--variant", choices=["policy", "bare"], required=True)
    parser.add_argument("--tenants", type=int, required=True)
    parser.add_argument("--cidrs", type=int, required=True)
    a = parser.parse_args()
    policy = a.variant == "policy"
    os.makedirs(f"{a.work}/state", exist_ok=True)
    lines = [
        "version: 1",
        "server: {threads: 1, state_dir: state}",
        "listeners:",
        f'  - {{name: public, address: "127.0.0.1:{a.port}", tls: {{}}, max_connections_per_client: 9000}}',
        "tls:",
        f'  certificates: [{{cert: "{a.cert}", key: "{a.key}"}}]',
        "upstreams:",
        f'  app: {{servers: [{{address: "{a.upstream}"}}]}}',
    ]
    if policy:
        write(f"{a.work}/session.key", base64.b64encode(hashlib.sha256(b"octroi-bench").digest()).decode() + "\n", 0o600)
        lines += [
            f'metrics: {{address: "127.0.0.1:{a.port + 500}"}}',
            "sessions:",
            '  keys: [{id: 1, secret: "${file:session.key}"}]',
            "  idle: 24h",
            "  absolute: 24h",
            "quotas:",
            "  per_client: {by: client, rate: 1000000/s}",
            "  per_tenant: {by: tenant, rate: 1000000/s}",
            "access_log: [{to: file, path: access.json}]",
        ]
    else:
        lines += ["routes: {open: {unmatched: public}}", "access_log: []"]
    lines.append("tenants:")
    for tenant in range(a.tenants):
        if policy:
            allow = ", ".join(ranges(tenant, a.tenants, a.cidrs))
            rest = f"quotas: [per_client, per_tenant], ip_access: {{allow: [{allow}]}}"
        else:
            rest = "routes: open"
        lines.append(f"  t{tenant}: {{hosts: [t{tenant}.gw.test], upstream: app, {rest}}}")
    write(f"{a.work}/octroi-{a.variant}.yaml", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
