#!/usr/bin/env node
// Makes foreign_express.json with cookie-session's keygrip and with cookie-signature: cookies that hold, and cookies that somebody tampered
// with. `why` is the reason code of the refusal.
//
//     npm install cookie-session cookie-parser keygrip cookie-signature && node foreign_express.js > foreign_express.json
"use strict";
const crypto = require("crypto");
const Keygrip = require("keygrip");
const signature = require("cookie-signature");
const version = (name) => require(`${name}/package.json`).version;

const NOW = 1_800_000_000;
const secret = (name) => crypto.createHash("sha256").update(name).digest("hex");
const [NEW, OLD, OTHER] = ["express new", "express old", "express other"].map(secret);
const PLAIN = { user: { id: "u_1" }, tenant: "acme", at: NOW - 60 };
const grip = (algorithm, key = NEW) => new Keygrip([key], algorithm);
const base64 = (text) => Buffer.from(text).toString("base64");

// As cookie-session: base64 of JSON, and the keyed hash of `name=value` in a cookie of its own.
function session(change = {}, key = NEW, algorithm = "sha1") {
  return raw(JSON.stringify({ ...PLAIN, ...change }), key, algorithm);
}
function raw(json, key = NEW, algorithm = "sha1") {
  const text = base64(json);
  return { text, signature: grip(algorithm, key).sign(`session=${text}`) };
}

// As `res.cookie(name, object, {signed: true})`.
function signedJson(change = {}, key = NEW) {
  return signedText(`j:${JSON.stringify({ ...PLAIN, ...change })}`, key);
}
function signedText(text, key = NEW) {
  return { text: encodeURIComponent(`s:${signature.sign(text, key)}`) };
}

const common = (make) => [
  ["a login", make(), {}],
  ["the older key", make({}, OLD), {}],
  ["roles", make({ roles: ["admin", "editor"] }), { roles: ["admin", "editor"] }],
  ["roles in one text", make({ roles: "admin b" }), { roles: ["admin", "b"] }],
  ["no roles", make({ roles: null }), {}],
  ["a user that is a number", make({ user: { id: 42 } }), { user: "42" }],
  ["a fraction of a second", make({ at: NOW - 59.5 }), { auth_time_ms: (NOW - 60) * 1000 + 500 }],
  ["text of all the world", make({ name: "Zoë \u2028 😀 100%" }), {}],
  ["nested values", make({ cart: { items: [{ id: 1, n: -2.5 }], open: true } }), {}],
  ["a second before its age is over", make({ at: NOW - 3599 }), { auth_time_ms: (NOW - 3599) * 1000 }],
  ["signed in within the skew", make({ at: NOW + 60 }), { auth_time_ms: (NOW + 60) * 1000 }],
  ["as many roles as there may be", make({ roles: Array(32).fill("r") }), { roles: Array(32).fill("r") }],
  ["a user as long as may be", make({ user: { id: "u".repeat(256) } }), { user: "u".repeat(256) }],
  ["quotes and backslashes", make({ text: "\"'\\;,=" }), {}],
  ["plus and slash in base64", make({ text: "???>>>~~~" }), {}],
  ["dots and colons", make({ text: "s:j:a.b.c" }), {}],
  ["empty values", make({ a: "", b: [], c: {}, d: null }), {}],
  ["signed in now", make({ at: NOW }), { auth_time_ms: NOW * 1000 }],
  ["a user of signs", make({ user: { id: "a|b/c%20+=" } }), { user: "a|b/c%20+=" }],
  ["long", make({ text: "x".repeat(2000) }), {}],
];
const commonBad = (make) => [
  ["another secret", make({}, OTHER), "session_invalid"],
  ["its age is over", make({ at: NOW - 3600 }), "session_expired"],
  ["signed in after the skew", make({ at: NOW + 61 }), "session_not_yet"],
  ["milliseconds for seconds", make({ at: NOW * 1000 }), "session_not_yet"],
  ["no sign-in", make({ at: undefined }), "session_invalid"],
  ["another tenant", make({ tenant: "globex" }), "session_tenant"],
  ["no tenant", make({ tenant: undefined }), "session_invalid"],
  ["nobody signed in", make({ user: undefined }), "session_missing"],
  ["a user that is an address", make({ user: { id: "a@example.test" } }), "session_invalid"],
  ["a role that is none", make({ roles: ["a b"] }), "session_invalid"],
];

const plain = session();
const padded = ["", "x", "xx"].map((pad) => session({ pad })).find(({ text }) => text.endsWith("="));
const signedBase64 = (text) => ({ text, signature: grip("sha1").sign(`session=${text}`) });
const other = session({ user: { id: "u_2" } });
const LAST = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const spelled = (text) => text.slice(0, -1) + LAST[LAST.indexOf(text.slice(-1)) ^ 1];
const twice = JSON.stringify(PLAIN).slice(0, -1) + ',"user":{"id":"u_2"}}';
const cookieSessionBad = [
  ...commonBad(session),
  ["no signature", { text: plain.text }, "session_invalid"],
  ["another session's signature", { text: plain.text, signature: other.signature }, "session_invalid"],
  ["another user", { text: other.text, signature: plain.signature }, "session_invalid"],
  ["a shorter signature", { ...plain, signature: plain.signature.slice(0, -4) }, "session_invalid"],
  ["another spelling of the signature", { ...plain, signature: spelled(plain.signature) }, "session_invalid"],
  ["a longer hash", session({}, NEW, "sha256"), "session_invalid"],
  ["another name signed", { text: plain.text, signature: grip("sha1").sign(`admin=${plain.text}`) }, "session_invalid"],
  ["no name signed", { text: plain.text, signature: grip("sha1").sign(plain.text) }, "session_invalid"],
  ["base64 without padding", signedBase64(padded.text.replace(/=+$/, "")), "session_invalid"],
  ["base64 of another alphabet", signedBase64(base64(JSON.stringify({ ...PLAIN, text: "???>>>~~~" })).replaceAll("+", "-").replaceAll("/", "_")), "session_invalid"],
  ["not JSON", raw("{'user': 1}"), "session_invalid"],
  ["a list", raw("[]"), "session_invalid"],
  ["a member that stands twice", raw(twice), "session_invalid"],
];

const json = signedJson();
const decoded = decodeURIComponent(json.text);
const encoded = (text) => ({ text: encodeURIComponent(text) });
const [body, tag] = [decoded.slice(0, decoded.lastIndexOf(".")), decoded.slice(decoded.lastIndexOf(".") + 1)];
const signedJsonBad = [
  ...commonBad(signedJson),
  ["no signature", encoded(`${body}.`), "session_invalid"],
  ["no dot", encoded(body.replaceAll(".", "")), "session_invalid"],
  ["another user", encoded(`${body.replace("u_1", "u_2")}.${tag}`), "session_invalid"],
  ["another session's signature", encoded(`${body}.${decodeURIComponent(signedJson({ a: 1 }).text).split(".").pop()}`), "session_invalid"],
  ["a shorter signature", encoded(decoded.slice(0, -4)), "session_invalid"],
  ["padding", encoded(`${decoded}=`), "session_invalid"],
  ["not signed", encoded(`j:${JSON.stringify(PLAIN)}`), "session_invalid"],
  ["no JSON cookie", signedText(JSON.stringify(PLAIN)), "session_invalid"],
  ["the number of an express-session", signedText("Vd3r0aV1SSgm2sbnD9S9QOFCK8dM9uqg"), "session_invalid"],
  ["not JSON", signedText("j:{'user': 1}"), "session_invalid"],
  ["a member that stands twice", signedText(`j:${twice}`), "session_invalid"],
  ["half an escape", { text: `${json.text.slice(0, 4)}%4${json.text.slice(4)}` }, "session_invalid"],
  ["encoded twice", { text: encodeURIComponent(json.text) }, "session_invalid"],
];

const good = (list) => list.map(([name, cookies, said]) => ({ name, ...cookies, is: { user: "u_1", roles: [], auth_time_ms: (NOW - 60) * 1000, ...said } }));
const bad = (list) => list.map(([name, cookies, why]) => ({ name, ...cookies, why }));
console.log(
  JSON.stringify(
    {
      made_by: `keygrip ${version("keygrip")}, cookie-signature ${version("cookie-signature")}`,
      now: NOW,
      max_age: 3600,
      keys: [
        { id: "new", secret: NEW },
        { id: "old", secret: OLD },
      ],
      cookie_session: { good: good(common(session)), bad: bad(cookieSessionBad) },
      signed_json: { good: good(common(signedJson)), bad: bad(signedJsonBad) },
      cookie_session_sha256: { good: good(common((change, key) => session(change, key, "sha256"))), bad: [] },
    },
    null,
    1,
  ),
);
