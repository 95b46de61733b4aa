"""Commands of `nightdraft` in processes that are forked from one which has imported what they need.

torch and transformers take four seconds of processor time to import. Each command has a process, an
environment and outputs of its own all the same, and runs as `nightdraft` runs it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.paths import ROOT

_FORKER = """
import gc, json, os, signal, sys
from importlib import import_module
from nightdraft.cli.main import main
for module in sys.argv[1:]:
    import_module(module)
gc.freeze()  # a child would copy the memory that it looks through for garbage
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        signal.alarm(120)  # one that hangs
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, path in enumerate(asked["outputs"], start=1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.environ.clear()
        os.environ.update(asked["environment"])
        sys.argv = ["nightdraft", *asked["arguments"]]
        main()
        sys.exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@contextmanager
def forked_commands(
    folder: Path, *modules: str
) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Gives a function that runs `nightdraft` with its arguments, and returns what came of it.

    `run("status", log_format="json")` sets NIGHTDRAFT_LOG_FORMAT for the command besides.

    Args:
        folder: For the outputs.
        modules: What is imported before the first command.
    """
    outputs = [folder / "stdout", folder / "stderr"]
    with subprocess.Popen(
        [sys.executable, "-c", _FORKER, *modules],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as forker:
        assert forker.stdin is not None
        assert forker.stdout is not None
        orders, answers = forker.stdin, forker.stdout

        def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
            named = {f"NIGHTDRAFT_{name.upper()}": value for name, value in variables.items()}
            words = [str(argument) for argument in arguments]
            order = {
                "arguments": words,
                "environment": os.environ | named,
                "outputs": [str(path) for path in outputs],
            }
            print(json.dumps(order), file=orders, flush=True)
            status = int(answers.readline())
            out, err = (path.read_text() for path in outputs)
            return subprocess.CompletedProcess(words, status, out, err)

        yield run
        orders.close()
