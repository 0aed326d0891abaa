"""The names of files in the folder of a checkpoint or a run."""

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = f"{WEIGHTS}.index.json"
IMAGE_PROCESSOR = "preprocessor_config.json"

ADAPTER_CONFIG = "task_adapter.json"
ADAPTER_WEIGHTS = "task_adapter.safetensors"
# Of older versions. They are PEFT's names: where it is installed, transformers takes the files for PEFT's.
OLDER_ADAPTER_CONFIG = "adapter_config.json"
OLDER_ADAPTER_WEIGHTS = "adapter_model.safetensors"

CARD = "README.md"
GATES = "gates.png"
SAMPLES = "predictions.png"
RESULTS = "results.json"
RECIPE = "training.yaml"
BROKEN = "broken.csv"  # the files of the data that are missing or broken. It is never published

STATE = "state.safetensors"
LOG = "log.jsonl"
GATE_LOG = "gates.jsonl"
LOCK = ".tsbn_lock"  # of a run that is alive

MARK = ".tsbn_run"  # of a run with code of the user's own: see permission.py. It is never published
