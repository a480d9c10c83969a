"""As much of an AMQP 0-9-1 client as it takes to hold idle connections and to declare idle queues.

What it deliberately is not: the load. That comes from `leveret perf`; Python would measure itself.
"""

import socket
import struct
from urllib.parse import unquote, urlsplit

CONNECTION, CHANNEL, QUEUE = 10, 20, 50


class AmqpError(Exception):
    """The peer said something else than what was expected, in one line."""


class Connection:
    """An open connection with channel 1 open on it, without heartbeats."""

    def __init__(self, uri, timeout_s=60):
        try:
            parts = urlsplit(uri)
            address = (parts.hostname or "127.0.0.1", parts.port or 5672)
        except ValueError:
            raise AmqpError("the URI's host or port is none") from None
        if parts.scheme != "amqp" or parts.query:
            # why: without the URI, which may have a password in it.
            raise AmqpError("the URI is not amqp://user:password@host:port/vhost")
        vhost = unquote(parts.path[1:]) or "/"
        user, password = unquote(parts.username or "guest"), unquote(parts.password or "guest")
        self.socket = socket.create_connection(address, timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.socket.makefile("rb")
        self.socket.sendall(b"AMQP\0\0\x09\x01")
        self.server_properties = self._expect(CONNECTION, 10)
        login = f"\0{user}\0{password}".encode()
        self._send(0, CONNECTION, 11, b"\0" * 4 + _short("PLAIN") + _long(login) + _short("en_US"))
        channel_max, frame_max, _ = struct.unpack(">HIH", self._expect(CONNECTION, 30))
        self._send(0, CONNECTION, 31, struct.pack(">HIH", channel_max, frame_max, 0))
        self._send(0, CONNECTION, 40, _short(vhost) + b"\0\0")
        self._expect(CONNECTION, 41)
        self._send(1, CHANNEL, 10, b"\0")
        self._expect(CHANNEL, 11)

    def server_property(self, name):
        """A text among the server's properties: found by its name, as nothing else there is needed."""
        mark = _short(name) + b"S"
        _, found, rest = self.server_properties.partition(mark)
        if not found:
            return None
        length = int.from_bytes(rest[:4], "big")
        return rest[4 : 4 + length].decode(errors="replace")

    def declare_queues(self, prefix, count, durable=False, exclusive=False):
        """Declares many queues. The requests go in groups, so that it does not wait for each.

        Exclusive ones are gone when the connection is closed.
        """
        flags = bytes([durable << 1 | exclusive << 2])
        group = 500
        for first in range(0, count, group):
            numbers = range(first, min(first + group, count))
            self.socket.sendall(
                b"".join(
                    _method(1, QUEUE, 10, b"\0\0" + _short(f"{prefix}-{n}") + flags + b"\0" * 4)
                    for n in numbers
                )
            )
            for _ in numbers:
                self._expect(QUEUE, 11)

    def close(self):
        self.reader.close()
        self.socket.close()

    def _send(self, channel, class_id, method_id, arguments):
        self.socket.sendall(_method(channel, class_id, method_id, arguments))

    def _expect(self, class_id, method_id):
        while True:
            kind, _, size = struct.unpack(">BHI", self._read(7))
            payload = self._read(size + 1)[:-1]
            # why: a heartbeat may come although none was agreed to.
            if kind != 8:
                break
        if kind != 1 or len(payload) < 4:
            raise AmqpError(f"no method came in the place of {class_id}.{method_id}")
        got = struct.unpack(">HH", payload[:4])
        if got != (class_id, method_id):
            raise AmqpError(f"method {got[0]}.{got[1]} came in the place of {class_id}.{method_id}")
        return payload[4:]

    def _read(self, count):
        octets = self.reader.read(count)
        if len(octets) < count:
            raise AmqpError("the broker closed the connection")
        return octets


def _method(channel, class_id, method_id, arguments):
    payload = struct.pack(">HH", class_id, method_id) + arguments
    return struct.pack(">BHI", 1, channel, len(payload)) + payload + b"\xce"


def _short(text):
    octets = text.encode()
    return bytes([len(octets)]) + octets


def _long(octets):
    return struct.pack(">I", len(octets)) + octets
