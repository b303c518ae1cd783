"""Who asks, as octroi asserts it: for any Python app, over PyJWT."""
import json
import threading
import time
import urllib.request
from dataclasses import dataclass

import jwt


class NotProven(Exception):
    """There is no assertion, or it does not hold: answer 401."""


class KeysMissing(Exception):
    """The keys cannot be fetched: answer 503."""


@dataclass(frozen=True)
class Who:
    """Who asks. Two tenants may have users of the same name: a user is the pair."""

    tenant: str
    user: str
    roles: tuple
    session: str
    request: str


class Keys:
    """octroi's keys: kept for ten minutes, and asked for again when an unknown one shows up, at most every 30 seconds."""

    KEEP, PAUSE, TIMEOUT, MOST_BYTES = 600, 30, 3, 65536

    def __init__(self, url):
        self._url, self._lock = url, threading.Lock()
        self._keys, self._stale, self._again = {}, 0.0, 0.0

    def find(self, kid):
        with self._lock:
            now = time.monotonic()
            if now >= self._again and (kid not in self._keys or now >= self._stale):
                self._again = now + self.PAUSE
                try:
                    self._keys = self._fetch()
                    self._stale = now + self.KEEP
                except (OSError, ValueError, jwt.PyJWTError) as error:
                    # Those from before still hold.
                    self._again = now + 1
                    if not self._keys:
                        raise KeysMissing(str(error)) from error
            if not self._keys:
                raise KeysMissing("not fetched yet")
            return self._keys.get(kid)

    def _fetch(self):
        with urllib.request.urlopen(self._url, timeout=self.TIMEOUT) as answer:
            found = jwt.PyJWKSet.from_dict(json.loads(answer.read(self.MOST_BYTES)))
        return {key.key_id: key for key in found.keys if key.key_id}


class Verifier:
    """Verifies assertions that are for one audience and from one issuer."""

    REQUIRED = ["sub", "tenant", "realm", "roles", "sid", "jti", "iat", "exp"]

    def __init__(self, keys, audience, issuer="octroi"):
        self._keys, self._audience, self._issuer = Keys(keys), audience, issuer

    def verify(self, assertion):
        if not assertion:
            raise NotProven("no assertion")
        try:
            header = jwt.get_unverified_header(assertion)
            # No other token that the same key might sign.
            if header.get("typ") != "octroi-assertion+jwt":
                raise NotProven("another type")
            key = self._keys.find(header.get("kid"))
            if key is None:
                raise NotProven("another key")
            claims = jwt.decode(
                assertion,
                key,
                algorithms=["EdDSA"],  # fixed here: the assertion does not choose
                audience=self._audience,
                issuer=self._issuer,
                leeway=5,  # seconds that the two clocks may differ
                options={"require": self.REQUIRED},
            )
        except jwt.PyJWTError as error:
            raise NotProven(str(error)) from error
        return Who(claims["tenant"], claims["sub"], tuple(claims["roles"]), claims["sid"], claims["jti"])
