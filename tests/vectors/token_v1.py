#!/usr/bin/env python3
"""Makes every token of token_v1.json again, and refuses every bad one for the same reason, from the written format alone.

    python3 tests/vectors/token_v1.py [token_v1.json]

The format stands in src/session/mod.rs. Nothing but Python's standard library: AES-256-GCM-SIV is written out below as RFC 8452 has it, slowly
and not in constant time, so it is for checking only. Exit: 0 all agree, 1 something differs.
"""
import base64
import hashlib
import hmac
import ipaddress
import json
import re
import struct
import sys
from pathlib import Path

# --- AES-256 (FIPS 197), encryption of one block


def _tables():
    power, logarithm, value = [0] * 255, [0] * 256, 1
    for exponent in range(255):
        power[exponent], logarithm[value] = value, exponent
        value ^= (value << 1) ^ (0x11B if value & 0x80 else 0)
    box = []
    for byte in range(256):
        inverse = power[(255 - logarithm[byte]) % 255] if byte else 0
        mixed = 0x63
        for turn in range(5):
            mixed ^= (inverse << turn | inverse >> (8 - turn)) & 0xFF
        box.append(mixed)
    return box


BOX = _tables()


def _double(byte):
    return (byte << 1) ^ (0x11B if byte & 0x80 else 0)


def aes_key(key):
    words, count = [list(key[at : at + 4]) for at in range(0, len(key), 4)], len(key) // 4
    constant = 1
    for number in range(count, 4 * (count + 7)):
        word = list(words[-1])
        if number % count == 0:
            word = [BOX[byte] for byte in word[1:] + word[:1]]
            word[0] ^= constant
            constant = _double(constant)
        elif count > 6 and number % count == 4:
            word = [BOX[byte] for byte in word]
        words.append([one ^ other for one, other in zip(word, words[-count])])
    return [sum(words[at : at + 4], []) for at in range(0, len(words), 4)]


def aes(rounds, block):
    state = [one ^ other for one, other in zip(block, rounds[0])]
    for number, key in enumerate(rounds[1:], 1):
        state = [BOX[state[(column * 4 + row * 5) % 16]] for column in range(4) for row in range(4)]
        if number < len(rounds) - 1:
            mixed = []
            for at in range(0, 16, 4):
                a, total = state[at : at + 4], state[at] ^ state[at + 1] ^ state[at + 2] ^ state[at + 3]
                mixed += [a[row] ^ total ^ _double(a[row] ^ a[(row + 1) % 4]) for row in range(4)]
            state = mixed
        state = [one ^ other for one, other in zip(state, key)]
    return bytes(state)


# --- AES-256-GCM-SIV (RFC 8452)


def dot(a, b):
    """The product of two field elements times x^-128 (section 3), bit 0 the lowest of the first byte."""
    product = 0
    for bit in range(128):
        if a >> bit & 1:
            product ^= b << bit
    for bit in range(128):
        if product >> bit & 1:
            product ^= (1 | 1 << 121 | 1 << 126 | 1 << 127 | 1 << 128) << bit
    return product >> 128


def polyval(key, data):
    total, key = 0, int.from_bytes(key, "little")
    for at in range(0, len(data), 16):
        total = dot(total ^ int.from_bytes(data[at : at + 16], "little"), key)
    return total.to_bytes(16, "little")


def padded(data):
    return data + bytes(-len(data) % 16)


def derive(key, nonce):
    rounds = aes_key(key)
    parts = [aes(rounds, struct.pack("<I", number) + nonce)[:8] for number in range(6)]
    return b"".join(parts[:2]), aes_key(b"".join(parts[2:]))


def keystream(rounds, tag, data):
    counter, out = bytearray(tag), b""
    counter[15] |= 0x80
    for at in range(0, len(data), 16):
        out += bytes(one ^ other for one, other in zip(data[at : at + 16], aes(rounds, counter)))
        counter[:4] = struct.pack("<I", (struct.unpack("<I", counter[:4])[0] + 1) & 0xFFFFFFFF)
    return out


def siv_tag(authentication, rounds, nonce, plain, associated):
    lengths = struct.pack("<QQ", len(associated) * 8, len(plain) * 8)
    hashed = bytearray(polyval(authentication, padded(associated) + padded(plain) + lengths))
    for at, byte in enumerate(nonce):
        hashed[at] ^= byte
    hashed[15] &= 0x7F
    return aes(rounds, hashed)


def siv_seal(key, nonce, plain, associated):
    authentication, rounds = derive(key, nonce)
    tag = siv_tag(authentication, rounds, nonce, plain, associated)
    return keystream(rounds, tag, plain) + tag


def siv_open(key, nonce, locked, associated):
    if len(locked) < 16:
        return None
    authentication, rounds = derive(key, nonce)
    sealed, tag = locked[:-16], locked[-16:]
    plain = keystream(rounds, tag, sealed)
    return plain if siv_tag(authentication, rounds, nonce, plain, associated) == tag else None


# --- HKDF-SHA-256 (RFC 5869), of one block


def hkdf(master, info):
    extracted = hmac.digest(b"octroi/session/v1", master, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


# --- The token, version 1


def info(purpose, realm):
    return b"".join(struct.pack(">H", len(part)) + part for part in (purpose.encode(), realm.encode()))


TIMES = ["issued", "auth_time", "not_before", "idle_end", "absolute_end"]


def encode(claims):
    out = b"\x01" + bytes.fromhex(claims["session"])
    out += b"".join(struct.pack(">Q", claims[time]) for time in TIMES)
    out += struct.pack(">II", claims["generation"], claims["epoch"])
    out += b"\x00" if claims["binding"] is None else b"\x01" + bytes.fromhex(claims["binding"])
    tenant, user = claims["tenant"].encode(), claims["user"].encode()
    out += bytes([len(tenant)]) + tenant + struct.pack(">H", len(user)) + user + bytes([len(claims["roles"])])
    return out + b"".join(bytes([len(role)]) + role.encode() for role in claims["roles"])


class Refused(Exception):
    pass


def decode(data):
    at = 0

    def take(count):
        nonlocal at
        at += count
        if at > len(data):
            raise Refused("claims")
        return data[at - count : at]

    def text(length, pattern):
        found = take(length)
        if not re.fullmatch(pattern, found):
            raise Refused("claims")
        return found.decode("ascii")

    if take(1) != b"\x01":
        raise Refused("claims")
    claims = {"session": take(16).hex()}
    claims.update((time, struct.unpack(">Q", take(8))[0]) for time in TIMES)
    claims["generation"], claims["epoch"] = struct.unpack(">II", take(8))
    bound = take(1)[0]
    if bound > 1:
        raise Refused("claims")
    claims["binding"] = take(16).hex() if bound else None
    claims["tenant"] = text(take(1)[0], rb"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
    claims["user"] = text(struct.unpack(">H", take(2))[0], rb"[!-~]{1,256}")
    count = take(1)[0]
    if count > 32:
        raise Refused("claims")
    claims["roles"] = [text(take(1)[0], rb"[A-Za-z0-9._:-]{1,64}") for _ in range(count)]
    if at != len(data):
        raise Refused("claims")
    return claims


def seal(master, key_id, purpose, realm, nonce, claims):
    place = info(purpose, realm)
    head = b"\x01" + struct.pack(">H", key_id)
    sealed = head + nonce + siv_seal(hkdf(master, place), nonce, encode(claims), head + place)
    return "oct1." + base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def open_token(masters, token, purpose, realm):
    if not re.fullmatch(r"oct1\.[A-Za-z0-9_-]{20,2000}", token):
        raise Refused("syntax")
    body = token[5:]
    if len(body) % 4 == 1:
        raise Refused("syntax")
    sealed = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    if base64.urlsafe_b64encode(sealed).rstrip(b"=").decode() != body:
        raise Refused("syntax")
    if sealed[0] != 1:
        raise Refused("version")
    key_id = struct.unpack(">H", sealed[1:3])[0]
    if key_id not in masters:
        raise Refused("key")
    place = info(purpose, realm)
    plain = siv_open(hkdf(masters[key_id], place), sealed[3:15], sealed[15:], sealed[:3] + place)
    if plain is None:
        raise Refused("tag")
    return decode(plain), key_id


def session_hash(master, session):
    return hmac.digest(hkdf(master, info("hash", "")), session, "sha256")[:8].hex()


def binding(client, user_agent, certificate):
    parts = []
    if client is not None:
        address = ipaddress.ip_address(client)
        parts.append((1, bytes([address.version]) + address.packed[: 3 if address.version == 4 else 6]))
    if user_agent is not None:
        parts.append((2, user_agent.encode()))
    if certificate is not None:
        parts.append((3, bytes.fromhex(certificate)))
    data = b"octroi/binding/v1" + b"".join(bytes([kind]) + struct.pack(">I", len(part)) + part for kind, part in parts)
    return hashlib.sha256(data).digest()[:16].hex()


def main():
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("token_v1.json")
    vectors = json.loads(path.read_text())
    masters = {key["id"]: bytes.fromhex(key["secret"]) for key in vectors["master_keys"]}
    # RFC 8452, appendix C.2: if this fails, the cipher above is wrong and not the vectors.
    known = siv_seal(b"\x01" + bytes(31), b"\x03" + bytes(11), bytes.fromhex("0100000000000000"), b"")
    assert known.hex() == "c2ef328e5c71c83b843122130f7364b761e0b97427e3df28", known.hex()
    count, wrong = 0, []

    def same(what, found, expected):
        nonlocal count
        count += 1
        if found != expected:
            wrong.append(f"{what}: {found!r} is not {expected!r}")

    for case in vectors["seal"]:
        place = case["purpose"], case["realm"]
        same(f"seal {case['name']}", seal(masters[case["key"]], case["key"], *place, bytes.fromhex(case["nonce"]), case["claims"]), case["token"])
        same(f"open {case['name']}", open_token(masters, case["token"], *place), (case["claims"], case["key"]))
    for case in vectors["refuse"]:
        try:
            found = f"opened: {open_token(masters, case['token'], case['purpose'], case['realm'])}"
        except Refused as refused:
            found = str(refused)
        same(f"refuse {case['name']}", found, case["error"])
    for case in vectors["session_hash"]:
        same("session hash", session_hash(masters[case["minting"]], bytes.fromhex(case["session"])), case["hash"])
    for case in vectors["binding"]:
        same("binding", binding(case.get("client"), case.get("user_agent"), case.get("certificate")), case["binding"])
    print("\n".join(wrong + [f"{count - len(wrong)} of {count} agree"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
