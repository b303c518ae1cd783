"""A gRPC app behind octroi: it signs users in with a field of its answer, says who asks, and keeps
watches open that say little.

Prints its port.
"""
import threading
from concurrent import futures

import grpc


def same(message):
    return message


class App(grpc.GenericRpcHandler):
    def service(self, details):
        method = details.method.rsplit("/", 1)[1]
        if method == "Watch":
            return grpc.unary_stream_rpc_method_handler(self.watch, same, same)
        return grpc.unary_unary_rpc_method_handler({"SignIn": self.sign_in, "Who": self.who, "Open": self.count}[method], same, same)

    def sign_in(self, user, context):
        context.send_initial_metadata((("octroi-session-grant", 'user="%s"' % user.decode()),))
        return b"welcome"

    def who(self, _, context):
        return dict(context.invocation_metadata()).get("octroi-user", "nobody").encode()

    open = 0

    def count(self, _, context):
        return b"%d" % self.open

    def watch(self, _, context):
        ended = threading.Event()
        context.add_callback(ended.set)
        self.open += 1
        try:
            yield b"watching"
            ended.wait()
        finally:
            self.open -= 1


server = grpc.server(futures.ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((App(),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
