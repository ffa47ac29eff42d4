"""`giga`: five verbs and a few instruments."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from gigafactory import __version__
from gigafactory.describe.errors import InputError, JobError

#: verb -> what --help says in the list; the module of the same name holds the command
VERBS = {
    "describe": "Count the factory: hosts, switches, megawatts, dollars.",
    "plan": "Find the best parallel layout and say why it wins.",
    "simulate": "Follow the whole campaign on the full cluster: the twin.",
    "run": "Really train on this machine, and survive failures.",
    "report": "Lay plan, twin and reality side by side on one page.",
    "validate": "Score the equations on a table of measured runs.",
    "calibrate": "Measure this machine, so that plans for it are right.",
    "replay": "Feed a recorded ledger back to the controller.",
    "export": "Write a trained model as GGUF, for llama.cpp.",
    "chat": "Serve the trained model and a pretrained one to talk to.",
}


class Verbs(click.Group):
    """Imports the module of a verb only when it is asked for, so that --help is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of the work."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of module ``gigafactory.cli.<verb>``."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"gigafactory.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="giga")
def giga() -> None:
    """Software of a gigafactory of compute.

    One study file describes cluster, model, job and money; every command starts from it.
    Exit status: 0 done, 1 the job failed, 2 the input is wrong.
    """


def main() -> None:
    """Entry point: turns the two kinds of failure into one clear message and a status."""
    sys.exit(status(sys.argv[1:]))


def status(args: list[str]) -> int:
    """Run one command line; its exit status, with the reason on stderr."""
    try:
        giga(args, prog_name="giga", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 2
    except InputError as error:
        return _fail(str(error), 2)
    except JobError as error:
        return _fail(str(error), 1)
    except (click.Abort, KeyboardInterrupt):
        return _fail("stopped", 1)
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:
        return _fail(f"{error.filename or 'the system'}: {error.strerror or error}", 1)
    return 0


def _fail(message: str, status: int) -> int:
    click.echo(f"giga: {message}", err=True)
    return status
