"""The table of all models. A row here is a model that the contract test, fine-tuning, export and the command line know.

The architectures need torch; this file does not, so that the command line can list them without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from einthoven.record import EcgError

if TYPE_CHECKING:
    from einthoven.models.signal.model import SignalModel


@dataclass(frozen=True)
class Model:
    """One architecture.

    `where` "module:class" below einthoven.models; `preset` the preprocessing it was designed for (signal/presets.py);
    `citation` the paper or code that it follows; `parameters` how many it has at 12 leads and 5 outputs, as tested;
    `tiny` keyword arguments that make it small enough for tests (and the samples to feed it); `adaptable` the modules,
    as a regular expression over their names, that LoRA adapts by default; `blocks` the modules, likewise, behind each of
    which a bottleneck adapter goes (Pfeiffer; Houlsby adds `attention`, where the model has any).
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
)

MODELS: Mapping[str, Model] = MappingProxyType({model.name: model for model in _ROWS})


def by_name(name: str) -> Model:
    """Raises EcgError, which lists them, where there is no such model."""
    if name not in MODELS:
        raise EcgError(f"no model {name} (there are: {', '.join(MODELS)})")
    return MODELS[name]


def build(name: str, **options: Any) -> SignalModel:
    """A model with fresh weights. `options` are its constructor's (`leads`, `outputs`, `samples`, ...).

    Raises EcgError for a name or an option that does not exist, and where torch is not installed.
    """
    row = by_name(name)
    module, _, cls = row.where.partition(":")
    try:
        made = getattr(import_module(f"einthoven.models.{module}"), cls)
    except ImportError as fault:
        raise EcgError(f"model {name} needs torch: pip install 'einthoven[train]' ({fault})") from fault
    try:
        model: SignalModel = made(**options)
    except TypeError as fault:
        raise EcgError(f"model {name}: {fault}") from fault
    return model
