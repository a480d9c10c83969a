"""TLS: with a password, with a certificate in its place, and not with a broker that nobody vouches for.

The directory CERTIFICATES holds ca.pem, client.pem and client.key; the certificate names guest.
"""
import os
import ssl
from pathlib import Path

import pika
from pika.credentials import ExternalCredentials

certificates = Path(os.environ["CERTIFICATES"])
body = b"x" * 1_000_000


def connect(context, **more):
    options = pika.SSLOptions(context, "localhost")
    # With TLS pika's default port is another.
    port = pika.connection.Parameters.DEFAULT_PORT
    return pika.BlockingConnection(
        pika.ConnectionParameters(host="127.0.0.1", port=port, ssl_options=options, **more))


context = ssl.create_default_context(cafile=certificates / "ca.pem")
with connect(context) as connection:
    channel = connection.channel()
    channel.queue_declare("secured")
    channel.confirm_delivery()
    channel.basic_publish("", "secured", body)

context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
with connect(context, credentials=ExternalCredentials()) as connection:
    method, properties, got = connection.channel().basic_get("secured", auto_ack=True)
    assert got == body

try:
    connect(ssl.create_default_context())
except ssl.SSLCertVerificationError:
    pass
else:
    raise AssertionError("a certificate of an unknown authority was believed")
