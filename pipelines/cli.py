"""The command line: what is asked for, who does it, and with which exit code it ends."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType

from cluster.resources import ResourcesError
from configs.compose import compose, recipes
from pipelines import arguments, commands
from pipelines.output import Output
from stages import logs
from stages.artifacts.atomic import StoreError
from stages.artifacts.commit import RepairRefusedError
from stages.artifacts.layout import FormatError
from stages.artifacts.manifest import DamagedError
from stages.catalog.errors import CatalogError
from stages.errors import SettingsError

OK, BUG, USAGE, REJECTS, DAMAGED, RESOURCES, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


def main(argv: Sequence[str]) -> int:
    """Do what ``argv`` asks for and return the exit code (see ``docs/cli.md``)."""
    parser = arguments.parser()
    args = parser.parse_args(argv)
    output = Output(args.json)
    logs.quiet()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(args, output)
    except KeyboardInterrupt:
        return _end(args, output, f"interrupted; go on with: {_command(argv)}", INTERRUPTED)
    except (SettingsError, CatalogError, FormatError) as error:
        return _end(args, output, f"error: {error}", USAGE)
    except (ResourcesError, StoreError) as error:
        return _end(args, output, f"error: {error}", RESOURCES)
    except (RepairRefusedError, DamagedError) as error:
        return _end(args, output, f"error: {error}", DAMAGED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:  # noqa: BLE001 - the outermost frame: a bug ends with exit code 1
        text = traceback.format_exc() if args.debug else str(error)
        return _end(args, output, f"bug: {type(error).__name__}: {text}", BUG)


def _end(args: argparse.Namespace, output: Output, text: str, code: int) -> int:
    output.error(text)
    output.data({"error": text, "exit_code": code})
    return code


def _run(args: argparse.Namespace, output: Output) -> int:
    arguments.check(args)
    if args.recipe is None:
        output.recipes(recipes())
        return OK
    if args.recipe == arguments.COMPARE:
        from pipelines.comparing import compare

        return compare(args, output)
    config = compose(args.recipe, args.config, args.set)
    for action in arguments.ACTIONS:
        if getattr(args, action):
            handler = getattr(commands, f"{action}_command")
            return int(handler(config, args, output))
    return commands.run_command(config, args, output)


def _command(argv: Sequence[str]) -> str:
    import shlex

    return shlex.join(["python", "pipelines/run.py", *argv])


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
