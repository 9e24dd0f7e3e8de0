"""Colours that people with any colour vision tell apart.

The three kinds of dichromacy are simulated by the matrices of Machado, Oliveira and Fernandes
(2009), doi:10.1109/TVCG.2009.113, for severity 1; differences are distances in CIELAB (1976).
"""

from itertools import combinations

import numpy as np
import pytest

pytest.importorskip("bokeh", reason="draws the page")

from dsoftmax.dashboard import _colours

VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ_OF_RGB = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
PARTS = {"first": _colours.FIRST, "tree": _colours.TREE, "second": _colours.SECOND}
OTHERS = {
    "failed": _colours.FAILED,
    "nothing": _colours.NOTHING,
    "transfers": "#ff0000",
    "the disk": "#ffa500",
    "the page": "#fafafa",
}
# What people just notice is about 2.3; a person with normal vision sees 20 at a glance.
LEAST = 20


def lab(colour, vision):
    """A colour as somebody sees it, in CIELAB, relative to white."""
    srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = XYZ_OF_RGB @ np.clip(vision @ linear, 0, 1) / XYZ_OF_RGB.sum(axis=1)
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def difference(one, other, vision):
    return np.linalg.norm(lab(one, np.array(vision)) - lab(other, np.array(vision)))


def test_the_simulation_knows_what_people_confuse():
    blue, purple = "#1f77b4", "#9467bd"
    assert difference(blue, purple, VISION["normal"]) > 35
    assert difference(blue, purple, VISION["protanopia"]) < 10
    assert difference("#ffffff", "#000000", VISION["deuteranopia"]) == pytest.approx(100, abs=0.01)


@pytest.mark.parametrize("vision", VISION.values(), ids=VISION)
def test_the_parts_of_a_job_differ_from_each_other_and_from_all_else(vision):
    found = {
        (one, other): difference(PARTS[one], (PARTS | OTHERS)[other], vision)
        for one, other in combinations(PARTS | OTHERS, 2)
        if one in PARTS
    }
    assert min(found.values()) > LEAST, min(found, key=found.get)
