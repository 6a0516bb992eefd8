# SPDX-License-Identifier: Apache-2.0
"""The web page in Chromium, on a daemon with tenants and a controller that moves their cores."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fake_tenant import FakeTenant
from local_node import GIB, Node, eventually, listening
from serving_node import ServingNode

from flexnpu.api.tokens import make

AXE = "() => axe.run().then(found => found.violations.map(v => [v.id, ...v.nodes.map(n => n.html + n.failureSummary)]))"


def test_the_picture_shows_who_holds_which_cores_and_what_each_does(browser, serving: ServingNode):
    with browser.page(serving.url) as page:
        page.get_by_text("live", exact=True).wait_for()
        picture = page.get_by_role("img", name="Cores of device 1: 0 to 7 embed; 8 to 13 batch; 14 to 23 nobody's")
        picture.wait_for()
        assert picture.locator(".cell.free").count() == 10
        assert "modelled" in page.get_by_role("article", name="Device 1").inner_text()
        assert "not measured on an Ascend NPU" in page.locator("#modelled").inner_text()
        holders = page.get_by_role("list", name="Who holds cores of device 0")
        says(holders, r"decode\s*decode\s*\d+ cores")
        assert "no program" in page.get_by_role("list", name="Who holds cores of device 1").inner_text()


def test_a_service_is_shown_beside_its_targets(browser, serving: ServingNode):
    with browser.page(serving.url) as page:
        service = page.get_by_role("article", name="chat")
        service.wait_for()
        first, each, goodput = service.locator(".figure").all()
        says(first, r"target 1 s; the newest [\d,]+ tokens of prompts are forecast to take \d")
        says(each, r"\d ms\s*mean of the last minute.*target 50 ms; \d+(\.\d+)? % of the tokens kept it")
        says(goodput, r"\d+\s*tokens/s in time")
        assert service.locator("canvas").is_visible()


def test_a_decision_opens_with_its_reason_and_what_else_was_weighed(browser, serving: ServingNode):
    told = eventually(
        lambda: next((each for each in serving.client.decisions(moved=True) if each.services[0].alternatives), None)
    )
    with browser.page(serving.url) as page:
        page.locator(".marks button[tabindex='0']").focus()
        page.keyboard.press("Home")
        page.keyboard.press("Enter")
        says(page.locator("#decision-title:focus"), r"prefill \d+ → \d+")
        page.get_by_role("checkbox", name="also those that moved nothing").check()
        rows = page.locator(".decisions .row")
        rows.filter(has_text=told.reason).first.click()
        detail = page.locator(".detail")
        says(detail, f"{re.escape(told.reason)}.*Inputs")
        assert detail.get_by_role("table").locator("tbody tr").count() >= len(told.services[0].alternatives)
        assert detail.locator("tr.chosen").count() == 1


def test_the_keyboard_alone_changes_a_quota_with_its_forecast_before_and_applied_after(browser, serving: ServingNode):
    with browser.page(serving.url) as page:
        page.get_by_role("button", name="Change quota of embed").wait_for()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the devices"
        page.keyboard.press("Enter")
        _tab_to(page, "Change quota of embed")
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog", name="Quota of embed")
        dialog.wait_for()
        assert page.evaluate("document.activeElement.id") == "quota-cores"
        for _ in range(2):
            page.keyboard.press("ArrowRight")
        says(dialog.locator("#quota-forecast"), r"embed: .*on 8 cores .* ms, on 10 .* ms \(.\d.*Modelled")
        before = serving.client.vnpu("embed")
        _tab_to(page, "Apply")
        page.keyboard.press("Enter")
        dialog.get_by_text(re.compile(r"^Applied after .* ms")).wait_for()
        after = serving.client.vnpu("embed")
        assert (after.cores, after.revision, after.applied) == (10, before.revision + 1, True)
        page.get_by_role("img", name=re.compile("0 to 9 embed")).wait_for(state="attached")
        page.keyboard.press("Escape")
        dialog.wait_for(state="hidden")
        assert page.evaluate("document.activeElement.textContent") == "Change quota of embed"
        says(page.locator("#announce"), "embed is applied")


def test_cores_go_from_one_to_another_in_one_move_and_a_stale_picture_changes_nothing(browser, serving: ServingNode):
    batch, embed = (serving.client.vnpu(name).cores for name in ("batch", "embed"))
    with browser.page(serving.url, quiet=False) as page:
        page.get_by_role("button", name="Change quota of batch").click()
        dialog = page.get_by_role("dialog", name="Quota of batch")
        dialog.get_by_label("Cores come from").select_option("embed")
        dialog.get_by_label("Guaranteed cores").fill(str(batch + 3))
        says(dialog.locator("#quota-forecast"), f"embed: a decode step on {embed} cores")
        dialog.get_by_role("button", name="Apply").click()
        dialog.get_by_text(re.compile(r"^Applied")).wait_for()
        assert [serving.client.vnpu(name).cores for name in ("batch", "embed")] == [batch + 3, embed - 3]
        # Somebody else is quicker than what the page is told.
        page.route("**/api/v1/vnpus?*", lambda route: route.abort())
        dialog.get_by_label("Cores come from").select_option("")
        serving.client.set_quota("batch", cores=batch)
        dialog.get_by_label("Guaranteed cores").fill("1")
        dialog.get_by_role("button", name="Apply").click()
        dialog.get_by_text("Not changed: ").wait_for()
        assert serving.client.vnpu("batch").cores == batch


def test_light_and_dark_follow_the_system_until_the_reader_chooses(browser, serving: ServingNode):
    background = "getComputedStyle(document.body).backgroundColor"
    with browser.page(serving.url, color_scheme="dark") as page:
        dark = page.evaluate(background)
        page.emulate_media(color_scheme="light")
        light = page.evaluate(background)
        assert light != dark
        page.get_by_role("radio", name="Dark").check(force=True)
        assert page.evaluate(background) == dark
        page.reload()
        assert page.evaluate(background) == dark
        assert page.get_by_role("radio", name="Dark").is_checked()


def test_axe_finds_nothing_to_complain_of(browser, serving: ServingNode):
    axe = pytest.importorskip("axe_playwright_python", reason="pip install axe-playwright-python")
    script = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    with browser.page(serving.url, bypass_csp=True) as page:
        page.locator(".decisions .row").first.click()
        page.locator(".service canvas").wait_for()
        page.evaluate(script)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            assert page.evaluate(AXE) == []
        page.get_by_role("button", name="Change quota of decode").click()
        page.get_by_text("Modelled, not calibrated").first.wait_for()
        assert page.evaluate(AXE) == []


def test_a_lost_daemon_is_shown_and_its_successor_taken_up(browser, quiet_node: Node):
    url = listening(quiet_node, "--listen", "127.0.0.1:0", "--insecure-listen")
    quiet_node.client().create_vnpu("a", cores=4, memory_bytes=GIB)
    tenant = FakeTenant.attach(quiet_node.attach_socket, "a")
    with browser.page(url, quiet=False) as page:
        resumed: list[str] = []
        page.on("request", lambda asked: resumed.append(asked.headers.get("last-event-id", "")))
        page.get_by_role("img", name=re.compile("0 to 3 a; 4 to 23")).wait_for()
        quiet_node.kill()
        page.get_by_text("connection lost", exact=True).wait_for()
        assert re.search(r"What is shown is as of \d\d:\d\d:\d\d", page.locator("#lost").inner_text())
        assert listening(quiet_node, "--listen", url.removeprefix("http://"), "--insecure-listen") == url
        tenant.come_back(quiet_node.attach_socket).close()
        page.get_by_text("live", exact=True).wait_for()
        assert page.locator("#lost").is_hidden()
        assert any(resumed)
        quiet_node.client().create_vnpu("b", cores=2, memory_bytes=GIB)
        page.get_by_role("img", name=re.compile("0 to 3 a; 4 to 5 b; 6 to 23")).wait_for()
        page.get_by_role("group", name="Events").get_by_text("created b").wait_for()


def test_a_token_is_asked_for_and_kept_in_the_tab_alone(browser, quiet_node: Node, tmp_path: Path):
    (reader, line), (writer, other) = make("monitor", "read"), make("operator", "write")
    (tmp_path / "tokens").write_text(f"{line}\n{other}\n")
    (tmp_path / "tokens").chmod(0o600)
    url = listening(quiet_node, "--listen", "127.0.0.1:0", "--tokens", str(tmp_path / "tokens"))
    quiet_node.client().create_vnpu("a", cores=4, memory_bytes=GIB)
    with browser.page(url, quiet=False) as page:
        _sign_in(page, "a guess")
        page.get_by_text("The daemon does not know that token").wait_for()
        _sign_in(page, reader)
        page.get_by_role("img", name=re.compile("0 to 3 a")).wait_for()
        assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]
        page.get_by_role("button", name="Change quota of a").click()
        _set_cores(page, 6)
        page.get_by_text(re.compile("Not changed: token monitor may read")).wait_for()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Forget token").click()
        _sign_in(page, writer)
        page.get_by_role("button", name="Change quota of a").click()
        _set_cores(page, 6)
        page.get_by_text(re.compile("^Applied")).wait_for()
    assert quiet_node.client().vnpu("a").cores == 6


def says(place, pattern: str) -> None:
    """Soon, in what it shows. Asked in the browser, which is idle meanwhile."""
    place.filter(has_text=re.compile(pattern, re.DOTALL)).wait_for(state="attached")


def _tab_to(page, text: str) -> None:
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == text:
            return
    raise AssertionError(f"the Tab key does not come to {text}")


def _sign_in(page, token: str) -> None:
    page.get_by_role("dialog", name="Who asks?").get_by_label("Token").fill(token)
    page.keyboard.press("Enter")


def _set_cores(page, cores: int) -> None:
    page.get_by_label("Guaranteed cores").fill(str(cores))
    page.get_by_role("button", name="Apply").click()
