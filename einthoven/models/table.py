"""The table of all models. A row here is a model that the contract test, fine-tuning, export and the command line know.

The architectures need torch; this file does not, so that the command line can list them without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from einthoven.record import EcgError, WrongUse

if TYPE_CHECKING:
    from einthoven.models.network import Network


@dataclass(frozen=True)
class Model:
    """One architecture.

    `where` "module:class" below einthoven.models; `preset` the preprocessing it was designed for (signal/presets.py);
    `citation` the paper or code that it follows; `parameters` how many it has at 12 leads and 5 outputs, as tested;
    `tiny` keyword arguments that make it small enough for tests (and the samples to feed it); `adaptable` the modules,
    as a regular expression over their names, that LoRA adapts by default; `blocks` the modules, likewise, behind each of
    which a bottleneck adapter goes (Pfeiffer; Houlsby adds `attention`, where the model has any); `kind` what it sees: a signal
    (B, L, T), then `preset` is of signal/presets.py, or an image (B, 3, H, W), then `preset` is an image form of
    represent/images.py and `tiny_samples` the side of the tiny model's image, or measured features (B, F) of
    represent/features.py; `defaults` constructor's arguments of this row,
    where they are not the class's own (a size of several).
    """

    name: str
    where: str
    preset: str
    citation: str
    parameters: int
    tiny: Mapping[str, Any] = field(default_factory=dict)
    tiny_samples: int = 250
    adaptable: str = ".*"
    blocks: str = ""
    attention: str = ""
    kind: Literal["signal", "image", "features"] = "signal"
    defaults: Mapping[str, Any] = field(default_factory=dict)


_TRANSFORMER: Mapping[str, Any] = {
    "kind": "image",
    "preset": "heartbeit",
    "tiny": {"size": 32, "patch": 8, "width": 16, "depth": 2, "heads": 2},
    "tiny_samples": 32,
    "adaptable": r"layers\.\d+\.(attention\.(qkv|out)|mlp\.[02])",
    "blocks": r"layers\.\d+\.mlp",
    "attention": r"layers\.\d+\.attention",
}
_TINY_EFFICIENTNET: Mapping[str, Any] = {
    "width_coefficient": 0.25,
    "depth_coefficient": 0.1,
    "hidden_dim": 320,
    "depthwise_padding": [],
    "kernel_sizes": [3, 3],
    "in_channels": [32, 16],
    "out_channels": [16, 24],
    "strides": [1, 2],
    "num_block_repeats": [1, 2],
    "expand_ratios": [1, 6],
}
_VIT = "Dosovitskiy et al., ICLR 2021; tiny and small after Touvron et al., ICML 2021"
_BEIT = "Bao et al., ICLR 2022; HeartBEiT (Vaid et al., npj Digit Med 2023) is the base size, pre-trained on ECGs"

_ROWS: tuple[Model, ...] = (
    Model(
        "inception-time",
        "signal.inception_time:InceptionTime",
        "exchangeai",
        "Ismail Fawaz et al., Data Min Knowl Disc 2020;34:1936; as in tsai",
        457_605,
        tiny={"width": 4},
        adaptable=r"blocks\.\d+\.(bottleneck|convs\.\d+|pool\.1)|shortcuts\.0\.0",
        blocks=r"blocks\.\d+",
    ),
    Model(
        "xception-time",
        "signal.xception_time:XceptionTime",
        "exchangeai",
        "Rahimian et al., ICASSP 2020:1304; as in tsai, but logits of either sign (last_relu=True is tsai's: 401,370)",
        401_365,
        tiny={"width": 2, "positions": 25},
        adaptable=r"blocks\.\d+\.(bottleneck|convs\.\d+\.1|pool\.1)|shortcuts\.\d+\.0",  # no depthwise convolution
        blocks=r"blocks\.\d+",
    ),
    Model(
        "xresnet1d101",
        "signal.xresnet:XResNet",
        "exchangeai",
        "He et al., CVPR 2019:558; fastai's widths, the PTB-XL benchmark's kernel and pooling",
        33_042_309,
        tiny={"widths": [4, 4, 4, 4], "depths": [1, 2, 1, 1], "stem": [4, 4, 8]},
        adaptable=r"stages\.\d+\.\d+\.(branch\.\d+|shortcut\.\d+)\.0",
        blocks=r"stages\.\d+\.\d+",
    ),
    Model(
        "xresnet1d101-ptbxl",
        "signal.xresnet:BenchmarkXResNet",
        "exchangeai",
        "Strodthoff et al., IEEE J Biomed Health Inform 2021;25:1519: the PTB-XL benchmark's widths and head",
        1_872_261,
        tiny={"widths": [4, 4, 4, 4], "depths": [1, 2, 1, 1], "stem": [4, 4, 8], "hidden": 8},
        adaptable=r"stages\.\d+\.\d+\.(branch\.\d+|shortcut\.\d+)\.0",
        blocks=r"stages\.\d+\.\d+",
    ),
    Model(
        "se-resnet",
        "signal.se_resnet:SEResNet",
        "exchangeai-minmax",
        "DSAIL SNU: Han et al., CinC 2021 (1,814,556 parameters with 26 outputs)",
        1_811_742,
        tiny={"widths": [8, 8, 16, 16], "depth": 1, "kernel": 7, "reduction": 2},
        adaptable=r"stem\.1|stages\.\d+\.\d+\.conv[12]\.1",
        blocks=r"stages\.\d+\.\d+",
    ),
    Model(
        "patch-transformer",
        "signal.patch_transformer:PatchTransformer",
        "exchangeai",
        "Dosovitskiy et al., ICLR 2021, in one dimension; pre-normalised after Xiong et al., ICML 2020",
        2_726_021,
        tiny={"samples": 250, "patch": 25, "width": 16, "depth": 2, "heads": 2},
        adaptable=r"layers\.\d+\.(attention\.(qkv|out)|mlp\.[02])",
        blocks=r"layers\.\d+\.mlp",
        attention=r"layers\.\d+\.attention",
    ),
    Model(
        "cardx",
        "signal.cardx:CardX",
        "cardx",
        "Bickmann et al., ExChanGeAI, section 4.5; sizes that the paper leaves open are chosen in the file",
        15_115_997,
        tiny={"samples": 250, "width": 2, "embedding": 16},
        adaptable=r"experts\.\d+\.(mix\.0|last|body\.(blocks\.\d+\.(bottleneck|convs\.\d+(\.1)?|pool\.1)"
        r"|stages\.\d+\.\d+\.(branch\.\d+|shortcut\.\d+)\.0|layers\.\d+\.(attention\.(qkv|out)|mlp\.[02])))",
        blocks=r"experts\.\d+\.body\.(blocks\.\d+|stages\.\d+\.\d+|layers\.\d+\.mlp)",
        attention=r"experts\.\d+\.body\.layers\.\d+\.attention",
    ),
    Model(
        "ecg-fm",
        "signal.ecg_fm:EcgFm",
        "ecg-fm",
        "McKeen et al., arXiv:2408.05178; as in fairseq-signals, whose encoder it is parameter for parameter (90,373,248)",
        90_377_093,
        tiny={"width": 16, "depth": 2, "heads": 2, "hidden": 32, "channels": 8, "kernel": 8, "groups": 2},
        adaptable=r"encoder\.layers\.\d+\.attention\.[qv]_proj",
        blocks=r"encoder\.layers\.\d+\.ffn",
        attention=r"encoder\.layers\.\d+\.attention",
    ),
    Model(
        "ecg-founder",
        "signal.net1d:Net1D",
        "ecg-founder",
        "Li et al., NEJM AI 2025, arXiv:2410.04133; as in its code's Net1D, less the batch norms that it never runs",
        30_604_021,
        tiny={"width": 8, "filters": (8, 16), "blocks": (1, 2), "kernel": 4, "group": 4},
        adaptable=r"stages\.\d+\.\d+\.(enter|leave)",
        blocks=r"stages\.\d+\.\d+",
    ),
    Model(
        "st-mem",
        "signal.st_mem:StMem",
        "st-mem",
        "Na et al., ICLR 2024, arXiv:2402.09450: ViT-B/75; re-implemented from the paper",
        85_152_005,
        tiny={"samples": 250, "patch": 25, "width": 16, "depth": 2, "heads": 2},
        adaptable=r"layers\.\d+\.(attention\.(qkv|out)|mlp\.[02])",
        blocks=r"layers\.\d+\.mlp",
        attention=r"layers\.\d+\.attention",
    ),
    Model(
        "vit-tiny",
        "image.vit:ViT",
        citation=_VIT,
        parameters=5_525_381,
        defaults={"width": 192, "depth": 12, "heads": 3},
        **_TRANSFORMER,
    ),
    Model(
        "vit-small",
        "image.vit:ViT",
        citation=_VIT,
        parameters=21_667_589,
        defaults={"width": 384, "depth": 12, "heads": 6},
        **_TRANSFORMER,
    ),
    Model("vit-base", "image.vit:ViT", citation=_VIT, parameters=85_802_501, **_TRANSFORMER),
    Model(
        "beit-tiny",
        "image.beit:BEiT",
        citation=_BEIT,
        parameters=5_516_213,
        defaults={"width": 192, "depth": 12, "heads": 3},
        **_TRANSFORMER,
    ),
    Model(
        "beit-small",
        "image.beit:BEiT",
        citation=_BEIT,
        parameters=21_649_253,
        defaults={"width": 384, "depth": 12, "heads": 6},
        **_TRANSFORMER,
    ),
    Model("beit-base", "image.beit:BEiT", citation=_BEIT, parameters=85_765_829, **_TRANSFORMER),
    Model(
        "efficientnet-b4",
        "image.convnets:Convnet",
        "heartbeit",
        "Tan and Le, ICML 2019; as in transformers, less its batch norms' momentum",
        17_557_581,
        kind="image",
        defaults={"kind": "efficientnet-b4"},
        tiny={"size": 32, "options": _TINY_EFFICIENTNET},
        tiny_samples=32,
        adaptable=r"body\.encoder\.(blocks\.\d+\.(expansion\.expand_conv|projection\.project_conv)|top_conv)",
        blocks=r"body\.encoder\.blocks\.\d+",
    ),
    Model(
        "resnet-152",
        "image.convnets:Convnet",
        "heartbeit",
        "He et al., CVPR 2016; as in transformers",
        58_154_053,
        kind="image",
        defaults={"kind": "resnet-152"},
        tiny={"size": 32, "options": {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}},
        tiny_samples=32,
        adaptable=r"body\.encoder\.stages\.\d+\.layers\.\d+\.(shortcut|layer\.\d+)\.convolution",
        blocks=r"body\.encoder\.stages\.\d+\.layers\.\d+",
    ),
    Model(
        "convnext-tiny",
        "image.convnets:Convnet",
        "heartbeit",
        "Liu et al., CVPR 2022; as in transformers",
        27_823_973,
        kind="image",
        defaults={"kind": "convnext-tiny"},
        tiny={"size": 32, "options": {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "drop_path_rate": 0.0}},
        tiny_samples=32,
        adaptable=r"body\.encoder\.stages\.\d+\.layers\.\d+\.pwconv[12]",
        blocks=r"body\.encoder\.stages\.\d+\.layers\.\d+",
    ),
    Model(
        "page-net",
        "image.page_net:PageNet",
        "photo-352x448",
        "ours; weights standardised after Brock et al., ICLR 2021",
        1_649_272,
        kind="image",
        tiny={"size": 32, "widths": [4, 8, 8, 8], "blocks": [1, 1], "depth": 1, "heads": 2, "look": 8, "focus": 2, "width": 16},
        tiny_samples=32,
        adaptable=r"looks\.\d+\.(qkv|out|mlp\.[02])|enter|leave|join",
        blocks=r"looks\.\d+\.mlp",
    ),
    Model(
        "beat-figures",
        "measured.beat_figures:BeatFigures",
        "",
        "ours; the default model's networks, on measured figures and the median beat",
        756_581,
        kind="features",
        tiny={"members": 1, "width": 4},
        adaptable=r"members\.\d+\.(figures\.[15]|beat\.(0|3|5|7|11|[246]\.body\.[15]))",
        blocks=r"members\.\d+\.(figures|beat)",
    ),
)

MODELS: Mapping[str, Model] = MappingProxyType({model.name: model for model in _ROWS})


def by_name(name: str) -> Model:
    """The row of this name; "inception_time" is "inception-time". Raises EcgError, which lists them, where there is none."""
    name = name.replace("_", "-")
    if name not in MODELS:
        raise WrongUse(f"no model {name} (there are: {', '.join(MODELS)})")
    return MODELS[name]


def build(name: str, **options: Any) -> Network:
    """A model with fresh weights. `options` are its constructor's (`leads`, `outputs`, `samples`, ...; of an image model
    `channels`, `outputs`, `size`, ...) and stand above the row's own.

    Raises EcgError for a name or an option that does not exist, and where torch is not installed.
    """
    row = by_name(name)
    module, _, cls = row.where.partition(":")
    try:
        made = getattr(import_module(f"einthoven.models.{module}"), cls)
    except ImportError as fault:
        raise EcgError(f"model {name} needs torch: pip install 'einthoven[train]' ({fault})") from fault
    try:
        model: Network = made(**{**row.defaults, **options})
    except TypeError as fault:
        raise EcgError(f"model {name}: {fault}") from fault
    return model
