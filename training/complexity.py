"""How large networks are and how much they compute: parameters and multiply-adds.

    python -m training.complexity                               # the eighteen presets of the paper
    python -m training.complexity --preset opacity-manet lungs-deeplabv3plus
    python -m training.complexity --weights DIR                  # networks of a weights folder, and their sum

What counts is said in ``training.judging.complexity``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from rich.console import Console
from rich.table import Table

from models.checkpoint import NetworkSpec, Role, load_spec, weights_folder
from models.errors import CheckpointError
from training.judging.complexity import Complexity, count_spec
from training.judging.paper_tables import STAGE_I, STAGE_II
from training.learning import presets
from training.learning.config import ConfigError

_NAMES = {
    "unet": "U-net",
    "unetplusplus": "U-net++",
    "deeplabv3": "DeepLabV3",
    "deeplabv3plus": "DeepLabV3+",
    "fpn": "FPN",
    "linknet": "Linknet",
    "pspnet": "PSPNet",
    "pan": "PAN",
    "manet": "MA-Net",
}

PUBLISHED: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        f"{role}-{preset}": (stage[name].parameters_m, stage[name].macs_g)
        for role, stage in (("lungs", STAGE_I), ("opacity", STAGE_II))
        for preset, name in _NAMES.items()
    }
)
"""Parameters (millions) and multiply-adds (thousand millions) in Danilov et al. 2022, Tables 5 and 6."""


def complexity_table(rows: Sequence[tuple[str, NetworkSpec, Complexity]]) -> Table:
    """Lay figures out for a terminal, the paper's beside ours where it has them.

    Columns: name, encoder, longer side of the input, parameters (millions), multiply-adds (thousand millions)
    in all, of the encoder and of the rest.

    Parameters
    ----------
    rows : sequence of (str, NetworkSpec, Complexity)
        Name and network.

    Returns
    -------
    rich.table.Table
    """
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)  # fits into 80 columns
    table.add_column("network", no_wrap=True)
    table.add_column("encoder", overflow="ellipsis", no_wrap=True, max_width=17)
    table.add_column("side", justify="right")
    for title in ("M par", "paper", "GMAC", "enc.", "dec.", "paper"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, spec, complexity in rows:
        parameters, multiply_adds = PUBLISHED.get(name, (None, None))
        table.add_row(
            name,
            spec.encoder,
            str(max(spec.input_shape)),
            f"{complexity.parameters / 1e6:.1f}",
            _published(parameters),
            *(
                f"{part / 1e9:.2f}"
                for part in (
                    complexity.multiply_adds,
                    complexity.encoder_multiply_adds,
                    complexity.decoder_multiply_adds,
                )
            ),
            _published(multiply_adds),
        )
    return table


def _published(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.1f}"


def _specs(weights: Path) -> list[tuple[str, NetworkSpec]]:
    found = [role for role in Role if (weights / f"{role}.json").is_file()]
    # A folder without any is an error, which loading says in its own words.
    return [(str(role), load_spec(weights, role)) for role in found or Role]


def _total(rows: Sequence[tuple[str, NetworkSpec, Complexity]]) -> str:
    parameters = sum(complexity.parameters for _, _, complexity in rows) / 1e6
    multiply_adds = sum(complexity.multiply_adds for _, _, complexity in rows) / 1e9
    return f"together: {parameters:.1f} M parameters, {multiply_adds:.2f} G multiply-adds a film"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m training.complexity", description="Count parameters and multiply-adds of networks."
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--weights", help="a folder of weights, or the name of a folder beside the shipped ones"
    )
    what.add_argument(
        "--preset", nargs="+", metavar="NAME", help="presets to count (default: the eighteen of the paper)"
    )
    options = parser.parse_args(arguments)
    console = Console()
    try:
        if options.weights:
            specs = _specs(weights_folder(options.weights))
        else:
            specs = [(name, presets.read(name).spec) for name in options.preset or presets.PAPER]
        rows = [(name, spec, count_spec(spec)) for name, spec in specs]
    except (CheckpointError, ConfigError) as error:
        sys.exit(f"error: {error}")
    console.print(complexity_table(rows))
    if options.weights and len(rows) > 1:
        console.print(_total(rows))


if __name__ == "__main__":
    main()
