"""`hearth user`: look after accounts."""

import typer

app = typer.Typer(help="Look after accounts.", no_args_is_help=True)
