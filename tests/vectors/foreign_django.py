#!/usr/bin/env python3
"""Makes foreign_django.json with Django: sessions that hold, and sessions that somebody tampered with.

    pip install django && python3 foreign_django.py > foreign_django.json

`why` is the reason code of the refusal.
"""
import base64
import hashlib
import json
import pickle
import sys
import time
import zlib

import django
from django.conf import settings
from django.core import signing

NOW = 1_800_000_000
NEW, OLD = (hashlib.sha256(name).hexdigest() for name in (b"django new", b"django old"))
settings.configure(SECRET_KEY=NEW, SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies")
SALT = "django.contrib.sessions.backends.signed_cookies"
PLAIN = {"_auth_user_id": "1", "_auth_user_backend": "django.contrib.auth.backends.ModelBackend", "_auth_user_hash": "ab" * 16, "tenant": "acme", "at": NOW - 60}
LAST = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


class at:
    """Stops Django's clock."""

    def __init__(self, now):
        self.now = now

    def __enter__(self):
        self.real, time.time = time.time, lambda: self.now

    def __exit__(self, *_):
        time.time = self.real


def session(key=NEW, made=NOW - 30, without=(), salt=SALT, algorithm=None, **values):
    payload = {name: value for name, value in {**PLAIN, **values}.items() if name not in without}
    with at(made):
        if algorithm:
            return signing.TimestampSigner(key=key, salt=salt, algorithm=algorithm).sign_object(payload, compress=True)
        return signing.dumps(payload, key=key, salt=salt, compress=True)


def stored(made=NOW - 30, **values):
    """What the session backend itself puts into the cookie."""
    from django.contrib.sessions.backends.signed_cookies import SessionStore

    store = SessionStore()
    for name, value in {**PLAIN, **values}.items():
        store[name] = value
    with at(made):
        store.save()
    return store.session_key


def signed(payload, time_text=None):
    """Signs a text that is no session."""
    if time_text is None:
        with at(NOW - 30):
            return signing.TimestampSigner(key=NEW, salt=SALT).sign(payload)
    return signing.Signer(key=NEW, salt=SALT).sign(f"{payload}:{time_text}")


def unpacked():
    with at(NOW - 30):
        return signing.dumps(PLAIN, key=NEW, salt=SALT)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def good():
    yield "a login", session(), {}
    yield "what the backend stores", stored(), {}
    yield "what the backend stores, packed", stored(text="word " * 400), {}
    yield "the older key", session(OLD), {}
    yield "packed", session(text="word " * 400), {}
    yield "packed to its bound", session(text="a" * (16 * 1024 - 230)), {}
    yield "not packed", unpacked(), {}
    yield "roles", session(roles=["admin", "editor"]), {"roles": ["admin", "editor"]}
    yield "roles in one text", session(roles="admin b"), {"roles": ["admin", "b"]}
    yield "no roles", session(roles=None), {}
    yield "a user that is a number", session(_auth_user_id=42), {"user": "42"}
    yield "a user that is a UUID", session(_auth_user_id="7b0f7a2e-7f0e-4b5f-8d5b-0d5f3a2c1b00"), {"user": "7b0f7a2e-7f0e-4b5f-8d5b-0d5f3a2c1b00"}
    yield "a fraction of a second", session(at=NOW - 59.5), {"auth_time_ms": (NOW - 60) * 1000 + 500}
    yield "text of all the world", session(name="Zoë \u2028 \U0001f600"), {}
    yield "nested values", session(cart={"items": [{"id": 1, "n": -2.5}], "open": True}), {}
    yield "signed now", session(made=NOW), {}
    yield "signed within the skew", session(made=NOW + 60), {}
    yield "a second before its age is over", session(made=NOW - 3600 + 1), {}
    yield "signed in within the skew", session(at=NOW + 60), {"auth_time_ms": (NOW + 60) * 1000}
    yield "its expiry of Django's own", session(_session_expiry=300), {}


def bad():
    plain = session()
    payload, stamp, tag = plain.split(":")
    yield "another secret", session(hashlib.sha256(b"x").hexdigest()), "session_invalid"
    yield "another salt", session(salt="django.core.signing"), "session_invalid"
    yield "the hash of before 3.1", session(algorithm="sha1"), "session_invalid"
    yield "a longer hash", session(algorithm="sha512"), "session_invalid"
    yield "no time", signing.Signer(key=NEW, salt=SALT).sign_object(PLAIN), "session_invalid"
    yield "another user", f"{b64(json.dumps({**PLAIN, '_auth_user_id': '2'}).encode())}:{stamp}:{tag}", "session_invalid"
    yield "another time", f"{payload}:{session(made=NOW - 20).split(':')[1]}:{tag}", "session_invalid"
    yield "another session's signature", f"{payload}:{stamp}:{session(_auth_user_id='2').split(':')[2]}", "session_invalid"
    yield "no signature", f"{payload}:{stamp}:", "session_invalid"
    yield "one part less", f"{payload}:{stamp}", "session_invalid"
    yield "a shorter signature", plain[:-4], "session_invalid"
    yield "another spelling of the signature", plain[:-1] + LAST[LAST.index(plain[-1]) ^ 1], "session_invalid"
    yield "padding", plain + "=", "session_invalid"
    yield "packed where it is not", "." + unpacked(), "session_invalid"
    yield "another separator", plain.replace(":", "."), "session_invalid"
    yield "unpacks to too much", signed("." + b64(zlib.compress(json.dumps({**PLAIN, "text": "a" * 17_000}).encode()))), "session_invalid"
    yield "a bomb", signed("." + b64(zlib.compress(b"[" * 3_000_000, 9))), "session_invalid"
    yield "packed, and is not", signed("." + b64(b"not zlib")), "session_invalid"
    yield "pickled", signed(b64(pickle.dumps(PLAIN))), "session_invalid"
    yield "a member that stands twice", signed(b64(json.dumps(PLAIN)[:-1].encode() + b', "_auth_user_id": "2"}')), "session_invalid"
    yield "no time in the time", signed(payload, ""), "session_invalid"
    yield "a time with a sign", signed(payload, "-1"), "session_invalid"
    yield "a time beyond all numbers", signed(payload, "zzzzzzzzzzzz"), "session_invalid"
    yield "its age is over", session(made=NOW - 3600), "session_expired"
    yield "signed after the skew", session(made=NOW + 61), "session_not_yet"
    yield "signed in too long ago", session(at=NOW - 12 * 3600), "session_expired"
    yield "no sign-in", session(without=["at"]), "session_invalid"
    yield "another tenant", session(tenant="globex"), "session_tenant"
    yield "no tenant", session(without=["tenant"]), "session_invalid"
    yield "nobody signed in", session(without=["_auth_user_id"]), "session_missing"
    yield "a user that is an address", session(_auth_user_id="a@example.test"), "session_invalid"
    yield "a role that is none", session(roles=["a b"]), "session_invalid"


def main():
    vectors = {
        "made_by": f"Django {django.__version__}",
        "now": NOW,
        "max_age": 3600,
        "salt": SALT,
        "keys": [{"id": "new", "secret": NEW}, {"id": "old", "secret": OLD}],
        "good": [{"name": name, "text": text, "is": {"user": "1", "roles": [], "auth_time_ms": (NOW - 60) * 1000, **said}} for name, text, said in good()],
        "bad": [{"name": name, "text": text, "why": why} for name, text, why in bad()],
        "sha1": {"secret": NEW, "salt": SALT, "text": session(algorithm="sha1")},
    }
    json.dump(vectors, sys.stdout, indent=1, ensure_ascii=True)
    print()


main()
