"""A Django app behind octroi: django_app.py http://127.0.0.1:9902/.well-known/jwks.json. Prints the port that it serves on, at 127.0.0.1."""
import secrets
import socketserver
import sys
from dataclasses import asdict
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
from django.conf import settings

settings.configure(
    SECRET_KEY=secrets.token_hex(32),
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[f"{__name__}.OctroiMiddleware"],
    OCTROI={"keys": sys.argv[1], "audience": "app"},
)
django.setup()

from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse
from django.urls import path

from octroi_assertion import KeysMissing, NotProven, Verifier


class OctroiMiddleware:
    def __init__(self, get_response):
        self.get_response, self.verifier = get_response, Verifier(**settings.OCTROI)

    def __call__(self, request):
        # No session, no assertion: what everybody may see asks nobody.
        if not request.path.startswith("/public/"):
            try:
                request.who = self.verifier.verify(request.headers.get("Octroi-Assertion"))
            except NotProven:
                return HttpResponse(status=401)
            except KeysMissing:
                return HttpResponse(status=503)
        return self.get_response(request)


def hello(request):
    return JsonResponse({"hello": "everybody"})


def me(request):
    return JsonResponse(asdict(request.who))


urlpatterns = [path("public/hello", hello), path("me", me)]


class Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


server = make_server("127.0.0.1", 0, get_wsgi_application(), Server, WSGIRequestHandler)
print(server.server_port, flush=True)
server.serve_forever()
