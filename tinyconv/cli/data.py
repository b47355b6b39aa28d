"""`tinyconv data`: the data sets known by name, and fetching them."""

from __future__ import annotations

import click

from .common import BadInput, json_option, note, print_json


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@json_option
def data(names, as_json):
    """List the data sets known by name, or fetch some into the cache.

    Fetched files are compared with their published checksums. The cache is $TINYCONV_CACHE, or the user's cache folder.
    """
    from ..data import NAMES, known
    from ..errors import NetError
    from ..lang.suggest import nearest

    for name in names:
        if name not in NAMES:
            near = nearest(name, NAMES)
            raise BadInput(NetError(f"there is no known data set `{name}`",
                                    help=f"did you mean `{near}`?" if near else f"known are {', '.join(NAMES)}"))
    for name in names:
        if name in known.SETS:
            known.SETS[name].fetch(note)
    rows = [{"name": name, "available": name not in known.SETS or known.SETS[name].fetched,
             "folder": str(known.SETS[name].folder) if name in known.SETS else None, "description": words}
            for name, words in NAMES.items() if name in names or not names]
    if as_json:
        print_json(rows)
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        state = "with tinyconv" if row["folder"] is None else "fetched" if row["available"] else "not fetched"
        click.echo(f"{row['name']:{width}}  {state:13}  {row['description']}")
        if names and row["folder"]:
            click.echo(f"{'':{width}}  {row['folder']}")
