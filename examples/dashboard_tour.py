"""A softmax on Dask's dashboard: the page /softmax, the task stream, and what a spill looks like.

    python examples/dashboard_tour.py build/dashboard

It starts a cluster of two small workers on this machine, writes scores to a Zarr array, and takes
their softmax twice: once reading them twice, and once holding them between the passes, which takes
more memory than the workers have. The folder gets Dask's performance reports of both runs, as pages
that need no server. Open the link that it prints while it runs; docs/dashboard.md explains the
pages.

With --screenshots, headless Chromium (with its driver) takes pictures of the pages.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import dask.array as da
import zarr
from dask.utils import parse_bytes
from distributed import Client, LocalCluster, performance_report

import dsoftmax

CHUNK = 5_000_000  # elements of float32: 20 MB


def write_scores(path: Path, elements: int) -> None:
    """Write normal random numbers, on the workers."""
    scores = da.random.default_rng(0).standard_normal(elements, dtype="f4", chunks=CHUNK)
    store((4 * scores).astype("f4"), path)


def store(x: da.Array, path: Path) -> None:
    """Write an array to Zarr uncompressed, as compressing random numbers only takes time."""
    target = zarr.create_array(
        path, shape=x.shape, chunks=x.chunksize, dtype=x.dtype, compressors=None
    )
    da.store(x, target, lock=False)


@contextlib.contextmanager
def cluster(memory: str) -> Iterator[Client]:
    """Two workers of one thread, and a scheduler with the page, on this machine only."""
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            memory_limit=memory,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"preload": ["dsoftmax.dashboard"]},
        ) as workers,
        Client(workers) as client,
    ):
        yield client


def page(client: Client, name: str) -> str:
    """The address of a page of the dashboard."""
    return client.dashboard_link.removesuffix("status") + name


@contextlib.contextmanager
def browser(width: int = 1500, height: int = 1000) -> Iterator[Any]:
    """Headless Chromium, driven by Selenium."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--hide-scrollbars",
        f"--window-size={width},{height}",
    ):
        options.add_argument(flag)
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options, service)
    try:
        yield driver
    finally:
        driver.quit()


SHARE = """
const parts = window.Bokeh && Bokeh.documents[0]?.get_model_by_name("parts")?.data;
const i = parts ? parts.part.indexOf(arguments[0]) : -1;
return i >= 0 ? parts.share[i] : 0;
"""
# The pictures of /softmax: their names, and the part of the algorithm that is to be half done.
MOMENTS = {
    "twice": {"first": "First Pass", "softmax": "Second Pass", "phone": "Second Pass"},
    "held": {"softmax": "Second Pass"},
}
PHONE = {"width": 390, "height": 1540, "deviceScaleFactor": 1, "mobile": True}


@contextlib.contextmanager
def on_a_phone(driver: Any) -> Iterator[None]:
    """Let a page be drawn for a narrow screen."""
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    time.sleep(0.5)  # to lay it out
    yield
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def take_pictures(driver: Any, name: str, done: threading.Event, pictures: Path) -> None:
    """Take /softmax at some moments, and the status page when all is done."""
    softmax, status = driver.window_handles
    driver.switch_to.window(softmax)
    for moment, part in MOMENTS[name].items():
        while not done.is_set() and driver.execute_script(SHARE, part) < 0.4:
            time.sleep(0.1)
        with on_a_phone(driver) if moment == "phone" else contextlib.nullcontext():
            driver.save_screenshot(str(pictures / f"{name}-{moment}.png"))
    driver.switch_to.window(status)
    done.wait()
    time.sleep(2)  # for the last tasks to be drawn
    driver.save_screenshot(str(pictures / f"{name}-status.png"))


def run(client: Client, name: str, folder: Path, reread: bool) -> None:
    """One softmax, from Zarr to Zarr, with its report."""
    x = da.from_zarr(str(folder / "scores.zarr"), chunks=CHUNK)
    y = dsoftmax.softmax(x, reread=reread)
    start = time.monotonic()
    with performance_report(str(folder / f"{name}.html")):
        store(y, folder / f"{name}.zarr")
    click.echo(f"{name:<6} {time.monotonic() - start:5.1f} s   {folder / name}.html")


def look_at(client: Client, name: str, folder: Path, reread: bool, pictures: Path) -> None:
    """Do the same with a browser that has both pages open."""
    with browser() as driver:
        driver.get(page(client, "softmax"))
        driver.switch_to.new_window("tab")
        driver.get(page(client, "status"))
        done = threading.Event()
        looking = threading.Thread(target=take_pictures, args=(driver, name, done, pictures))
        looking.start()
        try:
            run(client, name, folder, reread)
        finally:
            done.set()
            looking.join()


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--size", default="2 GB", show_default=True, help="Size of the scores.")
@click.option("--memory", default="768 MiB", show_default=True, help="Memory per worker.")
@click.option(
    "--screenshots",
    type=click.Path(file_okay=False, path_type=Path),
    help="Save pictures of the pages here (needs selenium, chromium and chromium-driver).",
)
def main(folder: Path, size: str, memory: str, screenshots: Path | None) -> None:
    """Run the tour; FOLDER is for scores, results and reports, and is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if screenshots is not None:
        screenshots.mkdir(parents=True, exist_ok=True)
    for name, reread in (("twice", True), ("held", False)):
        with cluster(memory) as client:  # a new one per run: its pages show nothing else
            click.echo(f"look at {page(client, 'softmax')}")
            if not (folder / "scores.zarr").exists():
                write_scores(folder / "scores.zarr", parse_bytes(size) // 4)
            if screenshots is None:
                run(client, name, folder, reread)
            else:
                look_at(client, name, folder, reread, screenshots)


if __name__ == "__main__":
    main()
