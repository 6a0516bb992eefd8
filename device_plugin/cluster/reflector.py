# SPDX-License-Identifier: Apache-2.0
"""A copy of some of the API server's objects that is kept up by a watch: listed once, and again only when the server
has forgotten where the watch was (410 Gone)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from device_plugin.cluster.api_server import ApiError, ApiServer, Object, UnreachableError

GONE = 410
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0

_log = logging.getLogger(__name__)
Key = tuple[str, str]  # namespace and name; the namespace is empty for what has none


def key_of(obj: Object) -> Key:
    meta = obj["metadata"]
    return meta.get("namespace", ""), meta["name"]


class Reflector(threading.Thread):
    """changed is called, from this thread, with the key of each object that came, changed or went. A lost connection is
    watched again from where it was, after a pause that doubles up to ten seconds."""

    def __init__(self, api: ApiServer, path: str, params: Mapping[str, str], changed: Callable[[Key], None]) -> None:
        super().__init__(name=f"watch {path}", daemon=True)
        self._api, self._path, self._params, self._changed = api, path, params, changed
        self._objects: dict[Key, Object] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._version = ""
        self._pause_s = FIRST_PAUSE_S
        self.synced = threading.Event()

    def stop(self) -> None:
        """It ends with its next pause or news, and tells nothing from now on."""
        self._stopped.set()

    def get(self, key: Key) -> Object | None:
        with self._lock:
            return self._objects.get(key)

    def all(self) -> list[Object]:
        with self._lock:
            return list(self._objects.values())

    def run(self) -> None:
        while not self._stopped.is_set():
            try:
                if not self._version:
                    self._list()
                self._watch()
                self._stopped.wait(FIRST_PAUSE_S)
            except ApiError as error:
                self._version = "" if error.http == GONE else self._version
                self._rest(error, at_once=error.http == GONE)
            except UnreachableError as error:
                self._rest(error)

    def _list(self) -> None:
        items, version = self._api.list(self._path, self._params)
        found = {key_of(item): item for item in items}
        with self._lock:
            before, self._objects = self._objects, found
        self._version = version
        self.synced.set()
        for key in before.keys() | found.keys():
            if before.get(key) != found.get(key):
                self._tell(key)

    def _watch(self) -> None:
        for kind, obj in self._api.watch(self._path, self._params, self._version):
            if self._stopped.is_set():
                return
            self._version = obj["metadata"]["resourceVersion"]
            self._pause_s = FIRST_PAUSE_S
            if kind == "BOOKMARK":
                continue
            key = key_of(obj)
            with self._lock:
                if kind == "DELETED":
                    self._objects.pop(key, None)
                else:
                    self._objects[key] = obj
            self._tell(key)

    def _tell(self, key: Key) -> None:
        if not self._stopped.is_set():
            self._changed(key)

    def _rest(self, error: Exception, *, at_once: bool = False) -> None:
        if at_once and self._pause_s == FIRST_PAUSE_S:
            self._pause_s *= 2  # a server that forgets at once is not asked in a tight loop
            return
        _log.warning("watch of %s: %s; again in %.1f s", self._path, error, self._pause_s)
        self._stopped.wait(self._pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
