"""How sphinx-gallery runs the examples: as programs that draw files."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import click
from sphinx_gallery.scrapers import figure_rst


def folder(gallery_conf: dict[str, Any], script_vars: dict[str, Any]) -> list[str]:
    """The arguments of an example: a folder for its pictures, from where it runs."""
    return [f"../build/{Path(script_vars['src_file']).stem}"]


def returns(gallery_conf: dict[str, Any], name: str) -> None:
    """Let the main function of an example return, where click ends the process."""
    click.Command.main = functools.partialmethod(MAIN, standalone_mode=False)  # type: ignore[method-assign]


MAIN = click.Command.main


def pictures(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """The pictures that an example has drawn, copied to where the page has them."""
    drawn = Path(block_vars["src_file"]).parent / folder(gallery_conf, block_vars)[0]
    copied = []
    for picture in sorted(drawn.glob("*.png")):
        copied.append(next(block_vars["image_path_iterator"]))
        os.replace(picture, copied[-1])
    return figure_rst(copied, gallery_conf["src_dir"])
