"""Options that several commands share."""

from typing import Annotated, Literal

import typer

Format = Literal["text", "json"]
FormatOption = Annotated[Format, typer.Option("--format", help="How results are printed.")]
