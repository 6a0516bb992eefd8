# SPDX-License-Identifier: Apache-2.0
"""Makes the README's picture of the web page: make web-picture

Everything on it is running: the demo's daemon, engines and controller under the first minutes of its trace.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from flexnpu.demo.command import LONGEST_GAP, TRACE
from flexnpu.experiment.arrivals import shorten_gaps
from flexnpu.experiment.calibrate import calibrate
from flexnpu.experiment.replay import Replay
from flexnpu.experiment.stack import Quota, Stack
from flexnpu.simulator.traces import make_trace

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
SIZE = {"width": 1320, "height": 1480}
TTFT, ITL = 1.0, 0.05


@contextlib.contextmanager
def relayed(socket: Path) -> Iterator[str]:
    """A URL for the daemon of an admin socket: no browser speaks to a unix socket."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_unix_connection(socket)
        await asyncio.gather(pump(reader, ours), pump(theirs, writer))

    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(join, "127.0.0.1", 0), loop).result()
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--light", type=Path, required=True, help="PNG")
    parser.add_argument("--dark", type=Path, required=True, help="PNG")
    parser.add_argument("--seconds", type=float, default=75.0, help="wall seconds of load before it is taken")
    given = parser.parse_args()
    with Stack({"prefill": Quota(12), "decode": Quota(12)}) as stack:
        calibration = calibrate(stack.ports["prefill"], stack.state_file)
        journal = stack.root / "decisions.jsonl"
        stack.start_controller(journal, "split", TTFT, ITL)
        stack.wait("controller", journal.exists)
        trace = make_trace([str(TRACE)], ["azure"])
        first = itertools.takewhile(lambda each: each.seconds < 300, trace)
        replay = Replay(stack.ports["prefill"], shorten_gaps(list(first), LONGEST_GAP), calibration.scale)
        load = threading.Thread(target=replay.run, args=(lambda: (0.0, 0.0), lambda *_: None), daemon=True)
        with relayed(stack.runtime_dir / "admin.sock") as url, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=[*FLAGS])
            page = browser.new_page(viewport=SIZE, device_scale_factor=1.5)
            page.goto(url)
            load.start()
            page.wait_for_timeout(given.seconds * 1000)
            take(page, given.light, given.dark)
            browser.close()


def take(page: Page, light: Path, dark: Path) -> None:
    """The newest decision is open, and somebody is at work."""
    page.get_by_label("The last").select_option("60")
    page.locator(".decisions .row").first.click()
    page.wait_for_function("document.querySelectorAll('#device-list .cell.busy').length > 12", timeout=60_000)
    page.evaluate("document.activeElement.blur(), scrollTo(0, 0)")
    for path, scheme in ((light, "light"), (dark, "dark")):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(400)
        page.screenshot(path=path)


if __name__ == "__main__":
    main()
