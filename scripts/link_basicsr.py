"""Make (or remove) the git-ignored link ``basicsr`` to the installed BasicSR, for ``python basicsr/train.py``.

BasicSR writes ``experiments/`` and ``tb_logger/`` beside the folder its ``train.py`` lies in. Through the link that is
this repository (or ``--root``); without it, it would be site-packages.
"""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
NO_LINK_NEEDED = '`python -m mulsr_plugin.train -opt FILE` and `python -m mulsr_plugin.test -opt FILE` need no link.'


def installed_package(root: Path) -> Path:
    """Return the folder of the installed basicsr without importing it and without mistaking the link for it."""
    sys.path[:] = [entry for entry in sys.path if Path(entry or '.').resolve() != root]
    spec = find_spec('basicsr')
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            f'{sys.executable} has no basicsr: run this script with the Python into which BasicSR is installed.'
        )
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def make_link(link: Path, package: Path) -> str:
    """Point ``link`` at ``package`` and return what was done; an old link is replaced, anything else refused."""
    if link.is_symlink():
        if link.resolve() == package:
            return f'{link} already points to {package}.'
        link.unlink()
    elif link.exists():
        raise FileExistsError(f'{link} is not a link: move it away first, it hides the installed BasicSR.')
    try:
        link.symlink_to(package, target_is_directory=True)
    except (OSError, NotImplementedError) as error:
        raise OSError(f'This file system or account allows no symbolic links ({error}). {NO_LINK_NEEDED}') from error
    return f'{link} -> {package}'


def remove_link(link: Path) -> str:
    """Remove ``link`` and return what was done; anything but a link is refused."""
    if link.is_symlink():
        link.unlink()
        return f'{link} removed.'
    if link.exists():
        raise FileExistsError(f'{link} is not a link: it was not made by this script and stays.')
    return f'{link} does not exist.'


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description='Make the link basicsr to the installed BasicSR.')
    parser.add_argument('--root', type=Path, default=REPOSITORY, help='folder of the link (default: this repository)')
    parser.add_argument('--remove', action='store_true', help='remove the link')
    args = parser.parse_args()
    root = args.root.resolve()
    try:
        if not root.is_dir():
            raise FileNotFoundError(f'--root {args.root} is not a folder.')
        link = root / 'basicsr'
        print(remove_link(link) if args.remove else make_link(link, installed_package(root)))
    except OSError as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
