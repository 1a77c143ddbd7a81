"""gRPC of every kind by grpcio (gRPC core), without generated code: `server PORT`, or `client HOST:PORT`, which prints JSON."""

import json
import sys
import threading
from concurrent import futures

import grpc

SERVICE = "/heddle.test.v1.Echo/"


def message(text, count=0, status=0, delay=0):
    """The bytes of heddle.test.v1.Message."""
    raw = text.encode()
    out = bytes([0x0A, len(raw)]) + raw
    for tag, value in ((0x10, count), (0x18, status), (0x20, delay)):
        if value:
            out += bytes([tag])
            while value > 0x7F:
                out += bytes([value & 0x7F | 0x80])
                value >>= 7
            out += bytes([value])
    return out


def fields(raw):
    """Field 1 and 5 are texts, 2 to 4 numbers."""
    found, at = {}, 0
    while at < len(raw):
        tag, at = raw[at], at + 1
        value, shift = 0, 0
        while True:
            byte, at = raw[at], at + 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if tag & 7 == 2:
            found[tag >> 3], at = raw[at : at + value], at + value
        else:
            found[tag >> 3] = value
    return found


def text(raw):
    return fields(raw).get(1, b"").decode()


class Server:
    """Echoes; what a call saw of its end is told by the call `Ended`."""

    def __init__(self):
        self.ended = threading.Event()

    def unary(self, request, context):
        context.set_trailing_metadata((("x-trailer", "at-the-end"),))
        status = fields(request).get(3, 0)
        if status:
            context.abort(next(code for code in grpc.StatusCode if code.value[0] == status), "as asked")
        delay = fields(request).get(4, 0)
        if delay:
            self.ended.clear()
            context.add_callback(self.ended.set)
            self.ended.wait(delay / 1000)
        return message(text(request))

    def collect(self, requests, context):
        return message("|".join(text(each) for each in requests))

    def repeat(self, request, context):
        for _ in range(fields(request).get(2, 0)):
            yield message(text(request))

    def converse(self, requests, context):
        for each in requests:
            yield message(text(each))

    def was_ended(self, request, context):
        return message("yes" if self.ended.wait(10) else "no")

    def service(self, details):
        same = {"request_deserializer": None, "response_serializer": None}
        return {
            SERVICE + "Unary": grpc.unary_unary_rpc_method_handler(self.unary, **same),
            SERVICE + "Ended": grpc.unary_unary_rpc_method_handler(self.was_ended, **same),
            SERVICE + "Collect": grpc.stream_unary_rpc_method_handler(self.collect, **same),
            SERVICE + "Repeat": grpc.unary_stream_rpc_method_handler(self.repeat, **same),
            SERVICE + "Converse": grpc.stream_stream_rpc_method_handler(self.converse, **same),
        }.get(details.method)


def serve(port):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    server.add_generic_rpc_handlers((Server(),))
    server.add_insecure_port(f"[::]:{port}")
    server.start()
    server.wait_for_termination()


def client(to):
    channel = grpc.insecure_channel(to)
    unary = channel.unary_unary(SERVICE + "Unary")
    said = {}
    reply, call = unary.with_call(message("one"), timeout=20)
    said["unary"] = text(reply)
    said["trailer"] = dict(call.trailing_metadata()).get("x-trailer")
    try:
        unary(message("x", status=9), timeout=20)
    except grpc.RpcError as error:
        said["status"] = [error.code().name, error.details(), dict(error.trailing_metadata()).get("x-trailer")]
    said["collect"] = text(channel.stream_unary(SERVICE + "Collect")(iter([message("a"), message("b")]), timeout=20))
    replies = channel.unary_stream(SERVICE + "Repeat")(message("r", count=5), timeout=20)
    said["repeat"] = [text(each) for each in replies]
    said["converse"] = converse(channel)
    try:
        unary(message("late", delay=60_000), timeout=1)
    except grpc.RpcError as error:
        said["deadline"] = error.code().name
    if "--cancels" in sys.argv:
        said["told of the deadline"] = text(channel.unary_unary(SERVICE + "Ended")(message("?"), timeout=20))
    said["cancelled"] = cancelled(channel)
    print(json.dumps(said))


def converse(channel):
    """Each message only after the answer to the last."""
    turn, told = threading.Semaphore(1), []

    def ask():
        for number in range(4):
            turn.acquire()
            yield message(f"m{number}")

    for reply in channel.stream_stream(SERVICE + "Converse")(ask(), timeout=20):
        told.append(text(reply))
        turn.release()
    return told


def cancelled(channel):
    """A stream that is given up half-way, and the next call on the same connection."""
    hold = threading.Event()

    def ask():
        yield message("first")
        hold.wait(20)

    stream = channel.stream_stream(SERVICE + "Converse")(ask())
    first = text(next(stream))
    stream.cancel()
    hold.set()
    try:
        next(stream)
        code = "none"
    except grpc.RpcError as error:
        code = error.code().name
    after = text(channel.unary_unary(SERVICE + "Unary")(message("after"), timeout=20))
    return [first, code, after]


if __name__ == "__main__":
    serve(sys.argv[2]) if sys.argv[1] == "server" else client(sys.argv[2])
