"""Holds renames at gates: loaded by every Python process that is given `tests.faults.gates.renames`."""

import os
import sys
import time


def _hold(event: str, args: tuple) -> None:
    """As `tests.faults.gates.pass_by`, which can't be imported yet."""
    if event != "os.rename":
        return
    at = os.path.join(os.environ["TUBEFLOW_TEST_GATES"], f".{os.path.basename(os.fsdecode(args[1]))}")
    if os.path.exists(f"{at}.gate"):
        with open(f"{at}.arrivals", "ab") as file:
            file.write(b".")
        while os.path.exists(f"{at}.gate"):
            time.sleep(0.01)


if "TUBEFLOW_TEST_GATES" in os.environ:
    sys.addaudithook(_hold)
