"""A gRPC client of grpc_app.py: asks without a session, signs in, asks, watches, and says how the watch ends,
and when the app has nobody left who watches.

    grpc_client.py TARGET HOST CA
"""
import sys
import time

import grpc

target, host, ca = sys.argv[1:]
credentials = grpc.ssl_channel_credentials(open(ca, "rb").read())
options = [("grpc.ssl_target_name_override", host), ("grpc.default_authority", host), ("grpc.enable_http_proxy", 0)]
channel = grpc.secure_channel(target, credentials, options)


def same(message):
    return message


def unary(path, message, metadata=()):
    return channel.unary_unary(path, same, same).with_call(message, metadata=metadata, timeout=10)


def said(error):
    print(error.code().name, error.details(), flush=True)


try:
    unary("/app.App/Who", b"")
except grpc.RpcError as error:
    said(error)


def sign_in(user):
    _, call = unary("/auth.Auth/SignIn", user)
    return (("cookie", dict(call.initial_metadata())["set-cookie"].split(";")[0]),)


session = sign_in(b"u_7")
print(unary("/app.App/Who", b"", session)[0].decode(), flush=True)
watch = channel.unary_stream("/app.App/Watch", same, same)(b"", metadata=session)
print(next(watch).decode(), flush=True)
try:
    next(watch)
except grpc.RpcError as error:
    said(error)
session = sign_in(b"u_8")
while unary("/app.App/Open", b"", session)[0] != b"0":
    time.sleep(0.05)
print("nobody watches", flush=True)
