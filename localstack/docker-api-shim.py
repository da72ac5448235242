"""Lets a client that speaks only the newest Docker API talk to an older Docker engine.

The client library of our container tests asks for one fixed API version and does not negotiate; an engine older than
that refuses every call ("client version is too new"). The calls the tests make have not changed in years, so this
listens on a socket of its own and rewrites the version in the path of each request. Nothing else is touched.

    docker-api-shim.py LISTEN_SOCKET ENGINE_SOCKET ENGINE_API_VERSION
"""

import os
import re
import socket
import sys
import threading

VERSION = re.compile(rb"^([A-Z]+ )/v1\.\d+/")


def copy(source, sink, rewrite=lambda data: data):
    """Until the source ends; then says so to the sink and leaves the other direction open."""
    try:
        while data := source.recv(65536):
            sink.sendall(rewrite(data))
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(client, engine_path, replacement):
    with client, socket.socket(socket.AF_UNIX) as engine:
        engine.connect(engine_path)
        # A request's head starts a read: the client waits for the answer before it sends the next one.
        upward = threading.Thread(
            target=copy, args=(client, engine, lambda data: VERSION.sub(replacement, data)), daemon=True
        )
        upward.start()
        copy(engine, client)
        upward.join(timeout=1)


def main(listen_path, engine_path, api_version):
    replacement = rb"\1/v" + api_version.encode() + b"/"
    if os.path.exists(listen_path):
        os.unlink(listen_path)
    with socket.socket(socket.AF_UNIX) as listener:
        os.umask(0o177)
        listener.bind(listen_path)
        listener.listen(64)
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client, engine_path, replacement), daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
