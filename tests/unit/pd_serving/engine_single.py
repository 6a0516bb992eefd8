# SPDX-License-Identifier: Apache-2.0
"""One engine of both roles, in the tests' own process."""

import threading

from engine_client import Client
from pd_serving.http_api import Server
from pd_serving.instance import check, make
from pd_serving.options import parser


class Single(Client):
    """Use as a context manager. `engine` is the loop, which runs in a thread."""

    def __init__(self, config, *extra):
        common = ["--role", "both", "--model", str(config), "--device", "cpu", "--dtype", "float32", "--port", "0"]
        limits = ["--random-weights", "0", "--max-len", "512", "--token-budget", "512"]
        options = parser().parse_args([*common, *limits, *extra])
        check(options)
        self.engine = make(options)
        self._server = Server(options.host, options.port)
        self._server.engine = self.engine
        self._loop = threading.Thread(target=self.engine.run)

    @property
    def port(self):
        return self._server.server_port

    def __enter__(self):
        self._server.start()
        self._loop.start()
        return self

    def __exit__(self, *_):
        self.engine.stop()
        self._loop.join()
        self._server.shutdown()
        self._server.server_close()
