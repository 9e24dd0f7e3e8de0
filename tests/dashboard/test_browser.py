"""Dask's dashboard in a real browser during a softmax: the status page and the page /softmax."""

import importlib.util
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
SECOND = "second pass: exp(x - m) / d"


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
        assert set(row) == {
            "first pass: (m, d) of each chunk",
            "tree: level 1",
            "tree: the root",
            SECOND,
        }
        assert all(share == 1 for share, _ in row.values())
        assert any(0 < share < 1 for share in shares)  # seen on its way
        assert f"logsumexp = {float(expected)!r}"[:25] in texts(driver)
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
