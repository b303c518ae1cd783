"""A Flask app with a login of its own. Prints the port that it serves on, at 127.0.0.1."""
import secrets
import sys
import time

import flask
from werkzeug.serving import make_server

app = flask.Flask(__name__)
app.secret_key = sys.argv[1]


def asked(name):
    return flask.request.args.get(name)


@app.get("/public/visit")
def visit():
    seen = flask.session.get("seen", 0) + 1
    flask.session["seen"] = seen
    return {"seen": seen}


@app.post("/login")
def login():
    flask.session.clear()
    flask.session.update(user=asked("user"), roles=[asked("role")], tenant=asked("tenant"), signed_in=time.time(), sid=secrets.token_hex(16), text="word " * 99)
    return {}


@app.route("/me")
@app.route("/admin/")
def me():
    return {"app": flask.session.get("user"), "octroi": flask.request.headers.get("Octroi-User")}


@app.post("/logout")
def logout():
    flask.session.clear()
    return {}, {"Octroi-Session-Revoke": "self"}


server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.port, flush=True)
server.serve_forever()
