"""transformers' own tests of models, backbones and configurations, on ours."""

import unittest
from fnmatch import fnmatchcase
from itertools import chain, product
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
import torch
from torch import nn
from transformers import ConvNextConfig, Dinov2Config, PreTrainedConfig, SwinConfig, ViTConfig

from tests.matrices import NIGHTLY, cases_of
from tsbn_hub import Task, TsbnBackbone, TsbnConfig, TsbnForMultiTask, TsbnModel

from .transformers_suite import suite


class Tiny(NamedTuple):
    """A tiny backbone, and what transformers' tests must know of its outputs.

    Attributes:
        config: Its native configuration.
        states: The number of hidden states.
        state: The last two dimensions of the first of them.
        map: Those of it as a map.
        state_kinds: In how many forms it returns them.
        attentions: The number of attention matrices.
        heads: Of the first of them.
        tokens: That the first of them is between.
    """

    config: PreTrainedConfig
    states: int
    state: tuple[int, int]
    map: tuple[int, int]
    state_kinds: int = 1
    attentions: int = 0
    heads: int = 0
    tokens: int = 0


_TOKENS = dict(image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
_STATES = dict(states=3, state=(17, 32), map=(4, 4), attentions=2, heads=4, tokens=17)
_SWIN = SwinConfig(image_size=32, patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 4], window_size=4)
_CONVNEXT = ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1])
BACKBONES = {
    "vit": Tiny(ViTConfig(**_TOKENS, intermediate_size=48), **_STATES),
    "swin": Tiny(_SWIN, states=3, state=(64, 16), map=(8, 8), state_kinds=2, attentions=2, heads=2, tokens=16),
    "convnext": Tiny(_CONVNEXT, states=5, state=(8, 8), map=(8, 8)),
    "dinov2": Tiny(Dinov2Config(**_TOKENS, mlp_ratio=2), **_STATES),
}
TASKS = {
    TsbnModel: None,
    TsbnBackbone: ["seg"],
    TsbnForMultiTask: [
        Task("z", "segmentation", num_classes=3, head_args={"channels": 8}),
        Task("a", "classification", num_classes=4),
        Task("m", "depth", head_args={"channels": 8}),
    ],
}

# Their tests that are left out, as patterns, by the reason why.
LEFT_OUT = {
    "there are no experts": ["*moe*", "*router_logits*", "*batched_and_grouped*"],
    "there is no language": [
        "*causal_lm*",
        "*encoder_decoder*",
        "*sliding_window*",
        "test_inputs_embeds*",
        "test_torch_compile_for_training",
        "test_bc_cache_name_forward",
    ],
    "there are no embeddings of tokens or positions to resize": ["test_resize_*"],
    "there are no rotary positions": ["*rope*"],
    "there is no plan for tensor parallelism": ["*tp_plan*"],
    "no module of these backbones stays in float32": ["*keep_in_fp32*"],
    "images meet a convolution first, behind which there is no embedding to take a gradient": [
        "test_enable_input_require_grads_with_gradient_checkpointing"
    ],
    "there are no models of images and of language in one": ["test_sdpa_can_dispatch_composite_models"],
    "the forward takes the keyword, and does not name it": ["test_eager_matches_sdpa_inference*_output_attentions"],
}
_NO_LOSS = {"it has no loss": ["test_training*"]}
LEFT_OUT_FOR: dict[Any, dict[str, list[str]]] = {
    "convnext": {
        "it has no attention": [
            "test_attention_outputs",
            "test_multimodal_outputs_are_returned",
            "*attn_implementation*",
            "*attention_dynamically",
            "*sdpa*",
        ],
        "it has no gradient checkpointing, and their tests ask the class, which does not know": [
            "*gradient_checkpointing*"
        ],
        "its names on the disk are those in memory": [
            "test_can_load_from_already_mapped_keys",
            "test_reverse_loading*",
        ],
        "it does not tell its embeddings": ["test_model_get_set_embeddings"],
    },
    TsbnModel: _NO_LOSS,
    TsbnBackbone: {
        **_NO_LOSS,
        "it returns no attentions": ["test_attention_outputs", "test_capture_outputs_decorator"],
        "it returns all hidden states, as maps, or none": ["test_can_capture_specific_layers_hidden_states"],
        "its first output is a tuple, and their test takes it for a tensor": ["test_retain_grad_hidden_states*"],
        "its stages are the backbone's feature maps: there is no stem, and no model behind the default": [
            "test_config"
        ],
    },
    TsbnForMultiTask: {
        "its hidden states and attentions are those of its TsbnModel, which is asked for them": [
            "test_attention_outputs",
            "*hidden_states*",
            "test_capture_outputs_decorator",
            "test_eager_matches_sdpa*",
            "test_model_outputs_equivalence",
        ],
        "its first output is a dict, and their test takes it for a tensor": ["test_determinism"],
    },
}
# A checkpoint that lacks gates is an error of ours. These tests read one all the same, and see what the gates become.
WITHOUT_GATES = ["test_can_init_all_missing_weights", "test_model_weights_reload_no_missing_tied_weights"]


class ModelTester:
    """What transformers' tests ask for configurations, inputs and sizes."""

    batch_size = 3
    is_training = True

    def __init__(self, model_class, tiny):
        self.model_class, self.tiny = model_class, tiny
        self.num_hidden_layers, self.num_attention_heads = tiny.attentions, tiny.heads
        self.expected_num_hidden_layers, self.num_hidden_states_types = tiny.states, tiny.state_kinds
        self.seq_length, self.hidden_size = tiny.map if model_class is TsbnBackbone else tiny.state

    def get_config(self):
        # A gate of 0.5 has the logit 0, which fresh memory may hold by chance.
        return TsbnConfig(self.tiny.config, TASKS[self.model_class], gate_init=0.25)

    def prepare_config_and_inputs_for_common(self):
        return self.get_config(), {"pixel_values": torch.rand(self.batch_size, 3, 32, 32)}


def case_of(model_class, tiny):
    """transformers' tests for a class of ours on a backbone, as a test case."""
    mixins = [suite("test_modeling_common").ModelTesterMixin]
    if model_class is TsbnBackbone:
        mixins.insert(0, suite("test_backbone_common").BackboneTesterMixin)

    class Case(*mixins, unittest.TestCase):
        all_model_classes = (model_class,)
        config_class = TsbnConfig
        has_attentions = tiny.attentions > 0
        test_can_init_all_missing_weights_before_2023 = True

        def setUp(self):
            self.model_tester = ModelTester(model_class, tiny)
            name = self._testMethodName
            if name == "test_attention_outputs":
                self.model_tester.seq_length = tiny.tokens
            if model_class is TsbnBackbone and name in ("test_backbone_outputs", "test_model_outputs_equivalence"):
                self.has_attentions = False
            self._is_composite = name != "test_sdpa_can_dispatch_non_composite_models"
            if name in WITHOUT_GATES:
                self.enterContext(patch("tsbn_hub.models.hf.model.check_loaded"))

        def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
            inputs = dict(inputs_dict)
            if return_labels and model_class is TsbnForMultiTask:
                batch, _, *size = inputs["pixel_values"].shape
                classes = torch.zeros(batch, *size, dtype=torch.long)
                inputs["labels"] = {"z": classes, "a": classes[:, 0, 0], "m": torch.ones(batch, *size)}
            return inputs

        def test_model_get_set_embeddings(self):
            # As theirs for models of images, whose embeddings are no nn.Embedding.
            model = model_class(self.model_tester.get_config())
            self.assertIsInstance(model.get_input_embeddings(), nn.Module)
            self.assertIsNone(model.get_output_embeddings())

        def test_configuration(self):
            values = dict(norm="affine", gated="*norm*", keep_affine=False, gate_init=0.25)
            tester = suite("test_configuration_common").ConfigTester
            tester(self, TsbnConfig, has_text_modality=False, **values).run_common_tests()

    return Case


def left_out(name, model_class, backbone):
    reasons = [LEFT_OUT, LEFT_OUT_FOR.get(backbone, {}), LEFT_OUT_FOR.get(model_class, {})]
    return any(fnmatchcase(name, each) for patterns in reasons for group in patterns.values() for each in group)


@pytest.fixture(scope="module")
def _source_distribution():
    try:
        suite("test_modeling_common")
    except FileNotFoundError as error:
        pytest.skip(f"transformers' source distribution cannot be had: {error}")


DAILY = [(TsbnForMultiTask, "vit"), (TsbnModel, "dinov2"), (TsbnBackbone, "swin"), (TsbnBackbone, "convnext")]


def names_of(model_class, backbone):
    """The names of the tests of a case."""
    names = unittest.defaultTestLoader.getTestCaseNames(case_of(model_class, BACKBONES[backbone]))
    return [name for name in names if not left_out(name, model_class, backbone)]


@pytest.fixture(scope="module")
def names(_source_distribution):
    """By case those that run: nightly all; otherwise each of transformers' tests with one of the cases, in turn."""
    every = {case: names_of(*case) for case in (product(TASKS, BACKBONES) if NIGHTLY else DAILY)}
    if NIGHTLY:
        return every
    some = {case: [] for case in every}
    for name in sorted(set(chain(*every.values()))):
        takers = [case for case in every if name in every[case]]
        some[min(takers, key=lambda case: len(some[case]))].append(name)
    return some


@pytest.mark.parametrize(("model_class", "backbone"), cases_of(product(TASKS, BACKBONES), DAILY))
def test_transformers_own_tests(model_class, backbone, names):
    case = case_of(model_class, BACKBONES[backbone])
    result = unittest.TestResult()
    for name in names[model_class, backbone]:
        case(name).run(result)
    assert result.wasSuccessful(), "\n\n".join(trace for _, trace in result.failures + result.errors)
    # What a machine must have for a test, the test says; of any other that skips itself, say in LEFT_OUT why.
    assert not [skip for skip in result.skipped if not skip[1].startswith("test requires")]
