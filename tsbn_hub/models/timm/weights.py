"""Which weights timm will load, and whether it can: asked before it begins."""

from pathlib import Path
from typing import Any

from timm.models import _builder, resolve_pretrained_cfg
from timm.models._pretrained import PretrainedCfg

from ...files.checkpoints import CheckpointError, read_shapes, without_weights
from ...files.names import CONFIG, WEIGHTS
from ...files.repositories import check_reachable, local_folder, repo_commit, split_revision


def weights_to_load(
    architecture: str,
    pretrained_cfg: PretrainedCfg | dict[str, object] | None,
    overlay: dict[str, Any],
    cache_dir: str | Path | None,
) -> Path | None:
    """The file that timm will load of a user's folder, file or repo: safetensors alone, and whole, or an error.

    Args:
        architecture: With its tag, if there is one.
        pretrained_cfg: As timm has it; None: that of the architecture.
        overlay: As timm has it. Of a repo the commit that was checked is written into it, so that timm loads that.
        cache_dir: Another cache than that of huggingface_hub.

    Returns:
        None, if the weights are timm's own, which the Hub or the cache has, or what the user loads by a function.

    Raises:
        CheckpointError: if a folder or repo has no safetensors, or a file is damaged.
        FileNotFoundError: if there is no such file.
        HubError: if the Hub cannot be reached, or there is no such repo.
        ValueError: if the file is a pickle.
    """
    config = pretrained_cfg.to_dict() if isinstance(pretrained_cfg, PretrainedCfg) else pretrained_cfg
    config = config if isinstance(config, dict) else {}
    source, file = config.get("source"), overlay.get("file") or config.get("file")
    if source == "hf-hub" or overlay.get("hf_hub_id"):
        repo = overlay.get("hf_hub_id") or str(config["hf_hub_id"])
        folder = local_folder(repo, (CONFIG, WEIGHTS), cache_dir=cache_dir)
        if commit := repo_commit(folder):  # what was checked is what timm loads, and the model knows where it is from
            overlay["hf_hub_id"] = f"{split_revision(repo)[0]}@{commit}"
        overlay.setdefault("hf_hub_filename", WEIGHTS)
        return _whole(folder / WEIGHTS)
    if source == "local-dir" and not overlay.get("file"):
        folder = Path(str(file))
        if not (folder / WEIGHTS).is_file():
            found = [path.name for path in folder.iterdir()] if folder.is_dir() else []
            raise CheckpointError(without_weights(str(folder), found))
        return _whole(folder / WEIGHTS)
    if file and Path(str(file)).suffix == ".safetensors":
        return _whole(Path(str(file)))
    if file and not overlay.get("custom_load"):
        raise ValueError(
            f"{file} is no .safetensors file. Pickled weights can run code when they are loaded, and are not read: "
            "convert the file with safetensors.torch.save_file."
        )
    _check_reachable(architecture, pretrained_cfg, overlay, cache_dir)
    return None


def _check_reachable(
    architecture: str, pretrained_cfg: Any, overlay: dict[str, Any], cache_dir: str | Path | None
) -> None:
    """Ask the Hub once, before timm does, for the repo of timm's own weights of an architecture."""
    config = resolve_pretrained_cfg(architecture, pretrained_cfg, dict(overlay)).to_dict()
    source, place = _builder._resolve_pretrained_source(config)
    if source == "hf-hub":
        repo, name = place if isinstance(place, tuple) else (place, None)
        check_reachable(repo, [name] if name else [WEIGHTS, "pytorch_model.bin"], cache_dir)


def _whole(path: Path) -> Path:
    read_shapes(path)
    return path
