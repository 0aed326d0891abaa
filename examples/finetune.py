"""Train one model on several tasks.

    accelerate launch examples/finetune.py --config examples/configs/multi_digits.yaml
    accelerate launch examples/finetune.py --config examples/configs/multi_digits.yaml --norm shared
    accelerate launch examples/finetune.py --config examples/configs/multi_digits.yaml --tasks left

The loop itself is tsbn_hub/training/loop.py.
"""

import argparse
import logging
import sys

from tsbn_hub.analysis import draw_importance, importance_matrix
from tsbn_hub.hub import write_card
from tsbn_hub.models import from_pretrained
from tsbn_hub.training import TrainingConfig, train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="a YAML file; its keys are those of tsbn_hub's TrainingConfig")
    parser.add_argument(
        "--norm",
        choices=["sigmoid", "affine", "shared"],
        help="sigmoid: TSσBN. affine: TSBN. shared: hard sharing. One task in --tasks: single-task",
    )
    parser.add_argument("--tasks", nargs="+", help="the tasks to train (default: all of the data set)")
    parser.add_argument("--output", help="the folder of the run")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--mixed-precision", choices=["no", "fp16", "bf16"])
    parser.add_argument("--seed", type=int)
    arguments = vars(parser.parse_args())
    logging.basicConfig(level=logging.WARNING)
    try:
        config = TrainingConfig.read(arguments.pop("config"), **arguments)
        scores = train(config)
    except (FileNotFoundError, ImportError, ValueError) as error:
        sys.exit(f"finetune.py: {error}")
    except KeyboardInterrupt:
        sys.exit("finetune.py: stopped. The best validated epoch so far, if there was one, is in the output folder.")

    model = from_pretrained(config.output)
    write_card(config.output, model, data=config.data, scores=scores, metric="accuracy")
    print(f"\n{config.output}: config.json, model.safetensors, README.md, log.jsonl", end="")
    if config.norm == "sigmoid":
        draw_importance(importance_matrix(model), f"{config.output}/gates.png")
        print(", gates.png", end="")
    print()


if __name__ == "__main__":
    main()
