"""What notebooks show of several lazy arrays: each as Dask shows it, beside its name."""

from __future__ import annotations

import html

import dask.array as da


def html_of(title: str, rows: dict[str, object]) -> str | None:
    """A table with a row for each name; None, so that notebooks show the text, if none is lazy."""
    if not any(isinstance(value, da.Array) for value in rows.values()):
        return None
    cells = "".join(
        f'<tr><th style="text-align: left">{html.escape(name)}</th>'
        f'<td style="text-align: left">{_cell(value)}</td></tr>'
        for name, value in rows.items()
    )
    return f"<strong>{html.escape(title)}</strong><table>{cells}</table>"


def _cell(value: object) -> str:
    shown = getattr(value, "_repr_html_", None)  # Dask's array expressions have none
    return shown() if isinstance(value, da.Array) and shown else html.escape(str(value))
