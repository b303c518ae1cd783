// An Express app with a login of its own: cookie-session, or JSON cookies that cookie-parser signs. Prints the port that it serves on, at
// 127.0.0.1.
"use strict";
const crypto = require("crypto");
const express = require("express");

const [secret, style] = process.argv.slice(2);
const app = express();
if (style === "cookie-session") {
  app.use(require("cookie-session")({ name: "session", keys: [secret], path: "/" }));
} else {
  app.use(require("cookie-parser")(secret));
  app.use((request, response, next) => {
    const session = request.signedCookies.session;
    request.session = session && typeof session === "object" ? session : {};
    next();
  });
}

function keep(request, response, session) {
  request.session = session;
  if (style === "cookie-session") return;
  if (session === null) response.clearCookie("session", { path: "/" });
  else response.cookie("session", session, { signed: true, path: "/" });
}

app.get("/public/visit", (request, response) => {
  const seen = (request.session.seen || 0) + 1;
  keep(request, response, { seen });
  response.json({ seen });
});
app.post("/login", (request, response) => {
  const { user, role, tenant } = request.query;
  keep(request, response, { user: { id: user, roles: [role] }, tenant, signedIn: Date.now() / 1000, sid: crypto.randomUUID() });
  response.json({});
});
app.get(["/me", "/admin/"], (request, response) => {
  response.json({ app: request.session.user ? request.session.user.id : null, octroi: request.get("Octroi-User") || null });
});
app.post("/logout", (request, response) => {
  keep(request, response, null);
  response.set("Octroi-Session-Revoke", "self").json({});
});

const server = app.listen(0, "127.0.0.1", () => console.log(server.address().port));
