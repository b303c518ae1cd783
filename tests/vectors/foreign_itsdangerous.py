#!/usr/bin/env python3
"""Makes foreign_itsdangerous.json with Flask and itsdangerous: sessions that hold, and sessions that somebody tampered with.

    pip install flask && python3 foreign_itsdangerous.py > foreign_itsdangerous.json

`why` is the reason code of the refusal.
"""
import base64
import datetime
import hashlib
import importlib.metadata
import json
import sys
import uuid
import zlib

import flask
import itsdangerous
import markupsafe
from flask.sessions import SecureCookieSessionInterface

NOW = 1_800_000_000
NEW, OLD, CONCAT = (hashlib.sha256(name).hexdigest() for name in (b"new", b"old", b"concat"))
PLAIN = {"_user_id": "u_1", "_fresh": True, "tenant": "acme", "at": NOW - 60, "_id": "5d0c"}
LAST = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def serializer(secret=NEW, made=NOW - 30, fallbacks=None):
    app = flask.Flask("app")
    app.secret_key = secret
    found = SecureCookieSessionInterface().get_signing_serializer(app)

    class Signer(found.signer):
        def get_timestamp(self):
            return int(made)

    found.signer = Signer
    return found


def session(secret=NEW, made=NOW - 30, without=(), **values):
    payload = {name: value for name, value in {**PLAIN, **values}.items() if name not in without}
    return serializer(secret, made).dumps(payload)


def signed(payload, time=None, secret=NEW):
    """Signs a text that is no session. The time is a text, too."""
    signer = serializer(secret).make_signer("cookie-session")
    if time is None:
        return signer.sign(payload).decode()
    return itsdangerous.Signer.sign(signer, f"{payload}.{time}").decode()


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def good():
    yield "a login", session(), {}
    yield "the older key", session(OLD), {}
    yield "packed", session(text="word " * 400), {}
    yield "packed to its bound", session(text="a" * (16 * 1024 - 150)), {}
    yield "roles", session(roles=["admin", "editor"]), {"roles": ["admin", "editor"]}
    yield "roles in a tuple", session(roles=("admin", "b")), {"roles": ["admin", "b"]}
    yield "roles in one text", session(roles="admin b"), {"roles": ["admin", "b"]}
    yield "no roles", session(roles=None), {}
    yield "a user that is a number", session(_user_id=42), {"user": "42"}
    yield "a user that is a UUID", session(_user_id=uuid.UUID(int=7)), {"user": uuid.UUID(int=7).hex}
    yield "a date", session(at=datetime.datetime.fromtimestamp(NOW - 60, datetime.timezone.utc)), {}
    yield "a fraction of a second", session(at=NOW - 59.5), {"auth_time_ms": (NOW - 60) * 1000 + 500}
    yield "bytes and marked-up text", session(blob=b"\x00\xff", html=markupsafe.Markup("<b>")), {}
    yield "a map with a marked name", session(map={" t": 1}), {}
    yield "text of all the world", session(name="Zoë \u2028 \U0001f600"), {}
    yield "messages", session(_flashes=[("info", "hello")]), {}
    yield "signed now", session(made=NOW), {}
    yield "signed within the skew", session(made=NOW + 60), {}
    yield "a second before its age is over", session(made=NOW - 3600 + 1), {}
    yield "signed in within the skew", session(at=NOW + 60), {"auth_time_ms": (NOW + 60) * 1000}


def bad():
    plain = session()
    payload, time, tag = plain.rsplit(".", 2)
    yield "another secret", session(hashlib.sha256(b"x").hexdigest()), "session_invalid"
    yield "another salt", itsdangerous.URLSafeTimedSerializer(NEW, salt="other", signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha1}).dumps(PLAIN), "session_invalid"
    yield "another way to the key", itsdangerous.URLSafeTimedSerializer(NEW, salt="cookie-session").dumps(PLAIN), "session_invalid"
    yield "another hash", itsdangerous.URLSafeTimedSerializer(NEW, salt="cookie-session", signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256}).dumps(PLAIN), "session_invalid"
    yield "no time", itsdangerous.URLSafeSerializer(NEW, salt="cookie-session", signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha1}).dumps(PLAIN), "session_invalid"
    yield "another user", f"{b64(json.dumps({**PLAIN, '_user_id': 'u_2'}).encode())}.{time}.{tag}", "session_invalid"
    yield "another time", f"{payload}.{session(made=NOW - 20).rsplit('.', 2)[1]}.{tag}", "session_invalid"
    yield "another session's signature", f"{payload}.{time}.{session(_user_id='u_2').rsplit('.', 1)[1]}", "session_invalid"
    yield "no signature", f"{payload}.{time}.", "session_invalid"
    yield "one part less", f"{payload}.{time}", "session_invalid"
    yield "a shorter signature", plain[:-4], "session_invalid"
    yield "another spelling of the signature", plain[:-1] + LAST[LAST.index(plain[-1]) ^ 1], "session_invalid"
    yield "padding", plain + "=", "session_invalid"
    yield "packed where it is not", "." + session(without=["_fresh", "_id"]), "session_invalid"
    yield "not packed where it is", session(text="word " * 400)[1:], "session_invalid"
    yield "a dot before the time", f"{payload}..{time}.{tag}", "session_invalid"
    yield "unpacks to too much", signed("." + b64(zlib.compress(json.dumps({**PLAIN, "text": "a" * 17_000}).encode()))), "session_invalid"
    yield "a bomb", signed("." + b64(zlib.compress(b"[" * 3_000_000, 9))), "session_invalid"
    yield "packed, and is not", signed("." + b64(b"not zlib")), "session_invalid"
    yield "not JSON", signed(b64(b"{'_user_id': 'u_1'}")), "session_invalid"
    yield "a member that stands twice", signed(b64(json.dumps(PLAIN)[:-1].encode() + b', "_user_id": "u_2"}')), "session_invalid"
    yield "no time in the time", signed(payload, ""), "session_invalid"
    yield "a time of nine bytes", signed(payload, b64(b"\x00" * 9)), "session_invalid"
    yield "its age is over", session(made=NOW - 3600), "session_expired"
    yield "signed after the skew", session(made=NOW + 61), "session_not_yet"
    yield "signed in too long ago", session(at=NOW - 12 * 3600), "session_expired"
    yield "signed in after the skew", session(at=NOW + 61), "session_not_yet"
    yield "no sign-in", session(without=["at"]), "session_invalid"
    yield "another tenant", session(tenant="globex"), "session_tenant"
    yield "no tenant", session(without=["tenant"]), "session_invalid"
    yield "nobody signed in", session(without=["_user_id"]), "session_missing"
    yield "a user that is an address", session(_user_id="a@example.test"), "session_invalid"
    yield "a role that is none", session(roles=["a b"]), "session_invalid"


def main():
    vectors = {
        "made_by": f"Flask {importlib.metadata.version('flask')}, itsdangerous {importlib.metadata.version('itsdangerous')}",
        "now": NOW,
        "max_age": 3600,
        "salt": "cookie-session",
        "keys": [{"id": "new", "secret": NEW}, {"id": "old", "secret": OLD}],
        "good": [{"name": name, "text": text, "is": {"user": "u_1", "roles": [], "auth_time_ms": (NOW - 60) * 1000, **said}} for name, text, said in good()],
        "bad": [{"name": name, "text": text, "why": why} for name, text, why in bad()],
        "django_concat": {
            "secret": CONCAT,
            "salt": "itsdangerous",
            "text": itsdangerous.URLSafeTimedSerializer(CONCAT, salt="itsdangerous", signer_kwargs={"digest_method": hashlib.sha512}).dumps(PLAIN),
        },
    }
    json.dump(vectors, sys.stdout, indent=1, ensure_ascii=True)
    print()


main()
