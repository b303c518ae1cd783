// An Express app behind octroi: node app.mjs http://127.0.0.1:9902/.well-known/jwks.json. Prints the port that it serves on, at 127.0.0.1.
import express from "express";
import { octroi } from "./octroi.mjs";

const app = express();

// No session, no assertion: what everybody may see comes before the middleware.
app.get("/public/hello", (request, response) => response.json({ hello: "everybody" }));

app.use(octroi({ keys: process.argv[2], audience: "app" }));
app.get("/me", (request, response) => response.json(request.octroi));

const server = app.listen(0, "127.0.0.1", () => console.log(server.address().port));
