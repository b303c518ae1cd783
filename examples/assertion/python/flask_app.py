"""A Flask app behind octroi: flask_app.py http://127.0.0.1:9902/.well-known/jwks.json. Prints the port that it serves on, at 127.0.0.1."""
import sys
from dataclasses import asdict

import flask
from werkzeug.serving import make_server

from octroi_assertion import KeysMissing, NotProven, Verifier

app = flask.Flask(__name__)
verifier = Verifier(sys.argv[1], audience="app")


@app.before_request
def who_asks():
    # No session, no assertion: what everybody may see asks nobody.
    if flask.request.path.startswith("/public/"):
        return
    try:
        flask.g.who = verifier.verify(flask.request.headers.get("Octroi-Assertion"))
    except NotProven:
        flask.abort(401)
    except KeysMissing:
        flask.abort(503)


@app.get("/public/hello")
def hello():
    return {"hello": "everybody"}


@app.get("/me")
def me():
    return asdict(flask.g.who)


server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.port, flush=True)
server.serve_forever()
