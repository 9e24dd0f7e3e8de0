"""Dask's dashboard in a real browser during a softmax: the status page and the page /softmax."""

import importlib.util
import re
import shutil
import time
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from distributed import wait

import dsoftmax

pytest.importorskip("selenium", reason="drives the browser")
pytestmark = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="no chromium with chromedriver",
)

ROOT = Path(__file__).parents[2]
SECOND = "Second Pass"


@pytest.fixture(scope="module")
def tour():
    path = ROOT / "examples" / "dashboard_tour.py"
    spec = importlib.util.spec_from_file_location("dashboard_tour", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def slowly(block):
    """Let a chunk take its time, so that there is something to look at."""
    time.sleep(0.05)
    return block


def shown(driver, name, what):
    """A property of a named part of the page, as the browser has it."""
    return driver.execute_script(
        "const [name, what] = arguments;"
        "if (!window.Bokeh || !Bokeh.documents.length) return null;"
        "const model = Bokeh.documents[0].get_model_by_name(name);"
        "return model === null ? null : JSON.parse(JSON.stringify(model[what]));",
        name,
        what,
    )


def texts(driver):
    """All that is written on the page, within shadow roots too."""
    return driver.execute_script(
        "const all = [];"
        "function walk(node) {"
        "  if (node.nodeType === Node.TEXT_NODE) all.push(node.textContent);"
        "  if (node.shadowRoot) node.shadowRoot.childNodes.forEach(walk);"
        "  node.childNodes.forEach(walk);"
        "}"
        "walk(document.body); return all.join(' ');"
    )


def text_of(driver):
    """The same with single spaces."""
    return " ".join(texts(driver).split())


def overflow(driver):
    """By how many pixels the page is wider than the window."""
    return driver.execute_script(
        "const page = document.documentElement; return page.scrollWidth - page.clientWidth;"
    )


def all_of(driver, selector):
    """The elements of a CSS class, within shadow roots too."""
    return driver.execute_script(
        "const found = [], selector = arguments[0];"
        "function walk(node) {"
        "  if (node.matches?.(selector)) found.push(node);"
        "  node.shadowRoot?.childNodes.forEach(walk);"
        "  node.childNodes.forEach(walk);"
        "}"
        "walk(document.body); return found;",
        selector,
    )


def tops_of_figures(driver):
    return [figure.rect["y"] for figure in all_of(driver, ".bk-Figure")]


def until(true, seconds=60):
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.1)
    return value


def test_a_softmax_is_seen_from_its_beginning_to_its_end(tour):
    x = da.random.default_rng(4).normal(size=2_000_000, chunks=10_000)
    expected = dsoftmax.logsumexp(x).compute(scheduler="threads")
    with tour.cluster("1 GiB") as client, tour.browser() as driver:
        driver.get(tour.page(client, "softmax"))
        until(lambda: "No softmax is running" in texts(driver))
        assert f'client = Client("{client.scheduler.address}")' in texts(driver)
        assert overflow(driver) == 0
        y = dsoftmax.softmax(x.map_blocks(slowly, dtype="f8", meta=np.ones(0)), reread=True)
        future = client.compute(y.max())

        shares = []

        def complete():
            parts = shown(driver, "parts", "data")
            row = dict(
                zip(parts["part"], zip(parts["share"], parts["text"], strict=True), strict=True)
            )
            shares.append(row.get(SECOND, (0.0, ""))[0])
            return row.get(SECOND, ("", ""))[1] == "200 of 200" and row

        row = until(complete)
        assert set(row) == {"First Pass", "Merges, Level 1", "Root", SECOND}
        assert all(share == 1 for share, _ in row.values())
        assert "softmax of float64 (2000000,) along axis 0" in text_of(driver)
        assert re.search(r"Workers hold \S+ \w*B of an array of 15.26 MiB", text_of(driver))
        assert overflow(driver) == 0
        with tour.on_a_phone(driver):
            assert driver.execute_script("return window.innerWidth") == 390
            assert overflow(driver) == 0
            tops = tops_of_figures(driver)
            assert len(set(tops)) == len(tops) == 3  # below each other
        assert len(set(tops_of_figures(driver))) == 2
        assert shown(driver, "tree help", "visible") is False
        all_of(driver, ".bk-tool-icon-help")[0].click()
        until(lambda: shown(driver, "tree help", "visible"))
        assert shown(driver, "sum help", "visible") is False
        assert overflow(driver) == 0
        assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []
        assert any(0 < share < 1 for share in shares)  # seen on its way
        assert f"log-sum-exp = {float(expected):.6g}" in texts(driver)
        sums = shown(driver, "sums", "data")
        assert sums["share"][-1] == 1
        assert sums["logsumexp"][-1] == pytest.approx(expected, rel=1e-14)
        wait(future)

        driver.get(tour.page(client, "status"))
        until(lambda: "softmax-merge-partial" in str(_task_names(driver)))
        assert "Softmax" in texts(driver)  # the link to the page


def _task_names(driver):
    """Of the tasks that the progress bars of the status page show."""
    return driver.execute_script(
        "if (!window.Bokeh || !Bokeh.documents.length) return null;"
        "const found = [];"
        "for (const model of Bokeh.documents[0]._all_models.values())"
        "  if (model.type === 'ColumnDataSource')"
        "    found.push(...(model.data.name || []));"
        "return found;"
    )
