"""Train one model on several tasks: `tsbn train`, as a script for `accelerate launch` and torchrun.

    accelerate launch examples/finetune.py examples/configs/multi_digits.yaml
    accelerate launch examples/finetune.py examples/configs/multi_digits.yaml --norm shared
    accelerate launch examples/finetune.py examples/configs/multi_digits.yaml --tasks left

The loop itself is tsbn_hub/training/loop.py; docs/own-loop.md shows how to write one of your own.
"""

import typer

from tsbn_hub.cli.train import train

if __name__ == "__main__":
    typer.run(train)
