"""How fast scenes are made: samples a second, in one process.

OMP_NUM_THREADS=1 python benchmarks/scenes.py --height 96 --width 128
"""

import argparse
import statistics
import time

from rich.console import Console
from rich.progress import track

from tsbn_hub.data.sets.scenes import Scenes


def main() -> None:
    """Measure and print the speed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=96)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()

    data = Scenes(size=arguments.samples, height=arguments.height, width=arguments.width)
    speeds = []
    for _ in track(range(arguments.repeats), description="measuring"):
        start = time.process_time()  # of this process alone, however busy the machine is
        for at in range(len(data)):
            _ = data[at]
        speeds.append(len(data) / (time.process_time() - start))
    low, middle, high = statistics.quantiles(speeds, n=4)
    Console().print(
        f"{arguments.height}x{arguments.width}: {middle:.0f} samples a processor second ({low:.0f} to {high:.0f})"
    )


if __name__ == "__main__":
    main()
