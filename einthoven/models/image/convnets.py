"""The convolutional baselines of HeartBEiT, by transformers: EfficientNet-B4, ResNet-152, and ConvNeXt-T beside them.

    image (B, 3, H, W) --body--> last map (B, C, h, w) --mean--> (B, C) --Linear--> logits (B, K)

Tan M, Le Q. EfficientNet. ICML 2019; He K et al. Deep residual learning. CVPR 2016; Liu Z et al. A ConvNet for the 2020s. CVPR
2022. The parameters are those of torchvision's models. Weights are random, or a local folder's (`published.pretrained`);
nothing is fetched. They take any image of 32 pixels and more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from einthoven.models.image.model import Backbone, ImageModel, sides
from einthoven.record import EcgError

KINDS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    # transformers' default momentum, 0.99, is TensorFlow's: for torch it would keep the last batch and no more.
    "efficientnet-b4": (
        "EfficientNet",
        {
            "width_coefficient": 1.4,
            "depth_coefficient": 1.8,
            "hidden_dim": 1792,
            "dropout_rate": 0.4,
            "image_size": 380,
            "batch_norm_momentum": 0.1,
        },
    ),
    "resnet-152": ("ResNet", {"depths": [3, 8, 36, 3]}),
    "convnext-tiny": ("ConvNext", {"drop_path_rate": 0.1}),
}


class Convnet(ImageModel):
    """See the head of this file.

    Args:
        kind: one of KINDS. size: the image it is meant for; its weights do not depend on it. options: what else transformers'
        configuration is to hold, in place of the kind's.
    """

    head: nn.Linear

    def __init__(
        self,
        *,
        kind: str = "resnet-152",
        channels: int = 3,
        outputs: int = 5,
        size: int | Sequence[int] = 224,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise EcgError(f"no convnet {kind} (there are: {', '.join(KINDS)})")
        sides(size)
        self.config = {
            "kind": kind,
            "channels": channels,
            "outputs": outputs,
            "size": size if isinstance(size, int) else list(size),
            "options": dict(options or {}),
        }
        made, config = self.classes()
        self.body = made(config)
        width = config.hidden_dim if kind.startswith("efficientnet") else config.hidden_sizes[-1]
        self.head = nn.Linear(width, outputs)

    def classes(self) -> tuple[Any, Any]:
        """transformers' model class and the configuration that this model has."""
        import transformers

        family, own = KINDS[self.config["kind"]]
        words = {**own, "num_channels": self.config["channels"], **self.config["options"]}
        return getattr(transformers, f"{family}Model"), getattr(transformers, f"{family}Config")(**words)

    def backbone(self, image: Tensor) -> Backbone:
        """-> (B, C); maps: what leaves each stage, one of each sharpness. Raises EcgError for an image below 32 pixels."""
        if min(image.shape[2:]) < 32:
            raise EcgError(f"{self.config['kind']} wants 32 pixels and more, not {image.shape[2]} x {image.shape[3]}")
        found = self.body(image, output_hidden_states=True)
        states = [*found.hidden_states[:-1], found.last_hidden_state]
        after = [*states[1:], None]
        maps = [s for s, t in zip(states, after, strict=True) if t is None or s.shape[2:] != t.shape[2:]]
        return Backbone(found.pooler_output.flatten(1), tuple(maps), {})

    def new_head(self, outputs: int) -> None:
        self.config["outputs"] = outputs
        self.head = nn.Linear(self.head.in_features, outputs)

    def fill(self, folder: str) -> None:
        """Takes the body's weights from a local folder of transformers (config.json, model.safetensors). Raises EcgError where
        they are not there or do not fit."""
        made, config = self.classes()
        try:
            body, told = made.from_pretrained(
                folder, config=config, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        except (OSError, RuntimeError, ValueError) as fault:
            raise EcgError(f"no weights of {self.config['kind']}: {fault}", path=folder) from fault
        lacking = sorted(map(str, [*told["missing_keys"], *told["mismatched_keys"]]))
        if lacking:  # transformers would leave them random
            raise EcgError(f"no weights of {self.config['kind']}: the file lacks {', '.join(lacking[:5])}", path=folder)
        self.body.load_state_dict(body.state_dict())
