"""A Django app with a login of its own: its users, its passwords, signed cookies. Prints the port that it serves on, at 127.0.0.1."""
import secrets
import socketserver
import sys
import time
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
from django.conf import settings

settings.configure(
    SECRET_KEY=sys.argv[1],
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware"],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{sys.argv[2]}/db.sqlite3"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()

from django.contrib import auth
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path


def visit(request):
    request.session["seen"] = request.session.get("seen", 0) + 1
    return JsonResponse({"seen": request.session["seen"]})


def login(request):
    user = auth.authenticate(request, username=request.GET["user"], password=f"password of {request.GET['user']}")
    if user is None:
        return JsonResponse({}, status=403)
    auth.login(request, user)
    request.session.update({"roles": [request.GET["role"]], "tenant": request.GET["tenant"], "signed_in": time.time(), "sid": secrets.token_hex(16)})
    return JsonResponse({})


def me(request):
    return JsonResponse({"app": request.user.username or None, "octroi": request.headers.get("Octroi-User")})


def logout(request):
    auth.logout(request)
    return JsonResponse({}, headers={"Octroi-Session-Revoke": "self"})


urlpatterns = [path("public/visit", visit), path("login", login), path("me", me), path("admin/", me), path("logout", logout)]


class Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


call_command("migrate", verbosity=0)
for name in ("alice", "bob"):
    User.objects.create_user(name, password=f"password of {name}")
server = make_server("127.0.0.1", 0, get_wsgi_application(), Server, WSGIRequestHandler)
print(server.server_port, flush=True)
server.serve_forever()
