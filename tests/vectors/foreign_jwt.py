#!/usr/bin/env python3
"""Makes foreign_jwt.json with PyJWT: tokens that hold, and tokens that somebody tampered with.

    pip install pyjwt cryptography && python3 foreign_jwt.py > foreign_jwt.json

Keys are made anew each time. `why` is the reason code of the refusal.
"""
import base64
import hashlib
import hmac
import json
import sys

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

NOW = 1_800_000_000
ISSUER = "https://login.example.test"


def pem(private):
    return private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def spki(private):
    return base64.b64encode(private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)).decode()


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


RSA, PSS = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
P256, P384, ED = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()
ATTACKER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SECRETS = {bits: "".join(f"{byte:02x}" for byte in hashlib.sha512(str(bits).encode()).digest()) for bits in (256, 384, 512)}
SIGNERS = {
    "hs256": ("HS256", SECRETS[256]),
    "hs384": ("HS384", SECRETS[384]),
    "hs512": ("HS512", SECRETS[512]),
    "rs256": ("RS256", RSA),
    "ps256": ("PS256", PSS),
    "es256": ("ES256", P256),
    "es384": ("ES384", P384),
    "ed": ("EdDSA", ED),
}
KEYS = [
    {"id": kid, "algorithm": algorithm, **({"secret": key} if isinstance(key, str) else {"spki": spki(key)})}
    for kid, (algorithm, key) in SIGNERS.items()
]
PLAIN = {"iss": ISSUER, "aud": "app", "sub": "u_1", "tenant": "acme", "iat": NOW - 60, "exp": NOW + 600}


def token(kid="hs256", header=None, without=(), **claims):
    algorithm, key = SIGNERS[kid]
    payload = {name: value for name, value in {**PLAIN, **claims}.items() if name not in without}
    return jwt.encode(payload, key, algorithm, headers={"kid": kid, **(header or {})})


def raw(payload, kid="hs256", header=None):
    """Signs bytes that are no claims."""
    algorithm, key = SIGNERS[kid]
    return jwt.api_jws.PyJWS().encode(payload, key, algorithm, headers={"kid": kid, **(header or {})})


def handmade(header, payload, sign):
    signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(payload).encode())}"
    return f"{signed}.{b64(sign(signed.encode()))}"


def good():
    for kid in SIGNERS:
        yield f"signed with {kid}", token(kid), {}
    yield "without a kid", jwt.encode(PLAIN, SIGNERS["es256"][1], "ES256"), {}
    yield "without a typ", token(header={"typ": None}), {}
    yield "an access token of RFC 9068", token(header={"typ": "at+jwt"}), {}
    yield "several audiences", token(aud=["other", "app"]), {}
    yield "another audience of ours", token(aud="app2"), {}
    yield "roles", token(roles=["admin", "team:a.b"]), {"roles": ["admin", "team:a.b"]}
    yield "roles in one text", token(roles="read write"), {"roles": ["read", "write"]}
    yield "no roles", token(roles=[]), {}
    yield "a user that is a number", token(sub="42", **{}), {"user": "42"}
    yield "a fraction of a second", token(iat=NOW - 59.5), {"auth_time_ms": (NOW - 60) * 1000 + 500}
    yield "ends in a second", token(exp=NOW + 1), {}
    yield "begins within the skew", token(nbf=NOW + 60), {}
    yield "made within the skew", token(iat=NOW + 60), {"auth_time_ms": (NOW + 60) * 1000}
    yield "claims that are not read", token(name="Zoë \u2028", nested={"a": [1, None, {"b": -1.5e3}]}), {}
    yield "fields that are not read", token("rs256", {"jku": "https://attacker.example/keys", "x5u": "https://attacker.example/cert"}), {}


def bad():
    plain = token("rs256")
    head, body, tail = plain.split(".")
    yield "the algorithm none", jwt.encode(PLAIN, None, "none", headers={"kid": "rs256"}), "session_invalid"
    yield "the algorithm none in other letters", f"{b64(json.dumps({'alg': 'nOnE', 'kid': 'rs256'}).encode())}.{body}.", "session_invalid"
    confused = handmade({"alg": "HS256", "kid": "rs256"}, PLAIN, lambda s: hmac.digest(pem(RSA).encode(), s, "sha256"))
    yield "a public key as the secret", confused, "session_invalid"
    confused = handmade({"alg": "HS256"}, PLAIN, lambda s: hmac.digest(pem(RSA).encode(), s, "sha256"))
    yield "a public key as the secret, without a kid", confused, "session_invalid"
    yield "another key's kid", jwt.encode(PLAIN, SECRETS[256], "HS256", headers={"kid": "hs384"}), "session_invalid"
    yield "a kid that nobody has", token(header={"kid": "../../dev/null"}), "session_invalid"
    yield "a kid that is a number", handmade({"alg": "HS256", "kid": 1}, PLAIN, lambda s: hmac.digest(SECRETS[256].encode(), s, "sha256")), "session_invalid"
    yield "another algorithm of the same key", jwt.encode(PLAIN, RSA, "PS256", headers={"kid": "rs256"}), "session_invalid"
    yield "another key", jwt.encode(PLAIN, ATTACKER, "RS256", headers={"kid": "rs256"}), "session_invalid"
    embedded = {"kid": "rs256", "jwk": json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(ATTACKER.public_key()))}
    yield "another key that came along", jwt.encode(PLAIN, ATTACKER, "RS256", headers=embedded), "session_invalid"
    yield "another key by address", jwt.encode(PLAIN, ATTACKER, "RS256", headers={"kid": "rs256", "jku": "https://attacker.example"}), "session_invalid"
    yield "another user", f"{head}.{b64(json.dumps({**PLAIN, 'sub': 'u_2'}).encode())}.{tail}", "session_invalid"
    yield "another header", f"{token('ps256').split('.')[0]}.{body}.{tail}", "session_invalid"
    yield "another token's signature", f"{head}.{body}.{token('rs256', sub='u_2').split('.')[2]}", "session_invalid"
    yield "no signature", f"{head}.{body}.", "session_invalid"
    yield "a shorter signature", ".".join([*token().split(".")[:2], token().split(".")[2][:-4]]), "session_invalid"
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    hs = token()
    yield "another spelling of the signature", hs[:-1] + last[last.index(hs[-1]) + 1], "session_invalid"
    es_head, es_body, _ = token("es256").split(".")
    yield "a signature of zeros", f"{es_head}.{es_body}.{b64(bytes(64))}", "session_invalid"
    from cryptography.hazmat.primitives import hashes
    der = P256.sign(f"{es_head}.{es_body}".encode(), ec.ECDSA(hashes.SHA256()))
    yield "a signature in DER", f"{es_head}.{es_body}.{b64(der)}", "session_invalid"
    yield "an extension that must be understood", raw(json.dumps(PLAIN).encode(), header={"crit": ["exp"]}), "session_invalid"
    yield "the type of another token", token(header={"typ": "logout+jwt"}), "session_invalid"
    yield "its end is now", token(exp=NOW), "session_expired"
    yield "its end is past", token(exp=NOW - 1), "session_expired"
    yield "no end", token(without=["exp"]), "session_invalid"
    yield "an end that is a text", raw(json.dumps({**PLAIN, "exp": str(NOW + 60)}).encode()), "session_invalid"
    yield "begins after the skew", token(nbf=NOW + 61), "session_not_yet"
    yield "made after the skew", token(iat=NOW + 61), "session_not_yet"
    yield "no time at all", token(without=["iat"]), "session_invalid"
    yield "signed in too long ago", token(iat=NOW - 12 * 3600, exp=NOW + 60), "session_expired"
    yield "another issuer", token(iss="https://login.example.test/"), "session_invalid"
    yield "no issuer", token(without=["iss"]), "session_invalid"
    yield "another audience", token(aud=["other"]), "session_invalid"
    yield "no audience", token(without=["aud"]), "session_invalid"
    yield "another tenant", token(tenant="globex"), "session_tenant"
    yield "no tenant", token(without=["tenant"]), "session_invalid"
    yield "a user that is an address", token(sub="a@example.test"), "session_invalid"
    yield "a role that is none", token(roles=["a b"]), "session_invalid"
    yield "a claim that stands twice", raw(json.dumps(PLAIN)[:-1].encode() + b', "sub": "u_2"}'), "session_invalid"
    yield "claims that are a list", raw(b"[1]"), "session_invalid"
    yield "claims that are not JSON", raw(b"{'sub': 'u_1'}"), "session_invalid"


def main():
    vectors = {
        "made_by": f"PyJWT {jwt.__version__}",
        "now": NOW,
        "issuer": ISSUER,
        "audience": ["app", "app2"],
        "keys": KEYS,
        "good": [{"name": name, "text": text, "is": {"user": "u_1", "roles": [], "auth_time_ms": (NOW - 60) * 1000, **said}} for name, text, said in good()],
        "bad": [{"name": name, "text": text, "why": why} for name, text, why in bad()],
    }
    json.dump(vectors, sys.stdout, indent=1, ensure_ascii=True)
    print()


main()
