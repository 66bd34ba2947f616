"""An HTTP S3 server in a process of its own, with faults on request.

`python s3_process.py FOLDER` serves moto's S3 on a free port of the loopback interface and prints
the port. It cannot be a thread of the tests, because delta-rs holds the interpreter's lock while
it waits for some answers.

A file `FOLDER/rule.json` makes one coming request fail and is then renamed to `applied.json`:
`{"method": "PUT", "match": "/_delta_log/", "when": "before" | "after", "kill": pid | null}`.
The request is answered with 500 before or after it was carried out; `kill` first ends a process.
"""

import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server


class FaultyStore:
    """The WSGI application: moto's, and the rule."""

    def __init__(self, folder):
        self.inner = DomainDispatcherApplication(create_backend_app)
        self.folder = folder
        self.lock = threading.Lock()

    def take_rule(self, environ):
        """Return the rule if it is for this request; it holds once."""
        with self.lock:
            file = self.folder / "rule.json"
            if not file.exists():
                return None
            rule = json.loads(file.read_text())
            wanted = environ["REQUEST_METHOD"] == rule["method"]
            if not wanted or rule["match"] not in environ["PATH_INFO"]:
                return None
            file.rename(self.folder / "applied.json")
            return rule

    def __call__(self, environ, start_response):
        """Answer one request."""
        rule = self.take_rule(environ)
        if rule is None:
            return self.inner(environ, start_response)
        if rule["when"] == "after":
            list(self.inner(environ, lambda *args, **kwargs: None))
        if rule["kill"]:
            os.kill(rule["kill"], signal.SIGKILL)
        start_response("500 Internal Server Error", [("Content-Length", "0")])
        return [b""]


def main():
    """Serve until terminated."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, FaultyStore(Path(sys.argv[1])), threaded=True)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
