"""Our BEiT beside transformers' own: images a CPU second, in one run, taking turns; masked image modelling and inference.

    python bench/image_models.py [--size tiny] [--batch 16] [--rounds 5] [--precision fp32] [--device cpu]

Both have the same weights, the same hidden patches and the same words (their losses are printed), and both step with AdamW.
Each round runs one after the other; the figure is the median over the rounds. CPU time, since the machine is shared; on a GPU
wall time. Ours asks for words of hidden patches only; transformers asks for those of all patches and drops the others.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from einthoven.models.convert import OBJECTIVE
from einthoven.models.image.beit import BEiT, MaskedHead
from einthoven.models.image.published import renamed
from einthoven.models.image.transformer import SIZES
from einthoven.train.pretrain_heartbeit import hide


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="tiny")
    parser.add_argument("--codes", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    torch.manual_seed(0)

    from transformers import BeitConfig, BeitForMaskedImageModeling

    size = SIZES[o.size]
    config = BeitConfig(
        hidden_size=size["width"],
        num_hidden_layers=size["depth"],
        num_attention_heads=size["heads"],
        intermediate_size=4 * size["width"],
        vocab_size=o.codes,
        use_mask_token=True,
        use_shared_relative_position_bias=True,
        use_absolute_position_embeddings=False,
        layer_norm_eps=1e-6,
        drop_path_rate=0.1,
    )
    theirs = BeitForMaskedImageModeling(config).to(o.device).train()
    state, _ = renamed(theirs.state_dict())
    model, head = BEiT(**size, positions="shared"), MaskedHead(size["width"], o.codes)
    model.load_state_dict({k: v for k, v in state.items() if not k.startswith(OBJECTIVE)}, strict=False)
    head.load_state_dict({k.removeprefix(OBJECTIVE): v for k, v in state.items() if k.startswith(OBJECTIVE)})
    model.head.requires_grad_(False)
    model.norm.requires_grad_(False)
    ours = torch.nn.ModuleList([model, head]).to(o.device).train()

    rng = np.random.default_rng(0)
    image = torch.randn(o.batch, 3, 224, 224, device=o.device)
    masked = torch.from_numpy(np.stack([hide(rng, (14, 14), 78).mask.ravel() for _ in range(o.batch)])).to(o.device)
    words = torch.randint(0, o.codes, (int(masked.sum()),), device=o.device)
    steps = {
        "einthoven": (ours, lambda: functional.cross_entropy(head(model, image, masked).float(), words)),
        "transformers": (theirs, lambda: theirs(image, bool_masked_pos=masked, labels=words).loss),
    }
    optimizers = {
        name: torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], 1e-4) for name, (net, _) in steps.items()
    }
    clock = time.process_time if o.device == "cpu" else time.perf_counter

    def seconds(work: Callable[[], object]) -> float:
        begin = clock()
        work()
        if o.device != "cpu":
            torch.cuda.synchronize()
        return clock() - begin

    def train(name: str) -> float:
        loss_of = steps[name][1]
        torch.manual_seed(1)
        with torch.autocast(o.device, torch.bfloat16, enabled=o.precision == "bf16"):
            loss = loss_of()
        loss.backward()
        optimizers[name].step()
        optimizers[name].zero_grad(set_to_none=True)
        return float(loss.detach())

    def infer(name: str) -> None:
        with torch.no_grad(), torch.autocast(o.device, torch.bfloat16, enabled=o.precision == "bf16"):
            if name == "einthoven":
                model.tokens(image)
            else:
                theirs.beit(image)

    found: dict[str, dict[str, list[float]]] = {kind: {name: [] for name in steps} for kind in ("train", "infer")}
    losses = {name: train(name) for name in steps}  # warms up, too
    for _ in range(o.rounds):
        for name in steps:
            steps[name][0].train()
            found["train"][name].append(seconds(lambda name=name: train(name)))  # type: ignore[misc]
        for name in steps:
            steps[name][0].eval()
            found["infer"][name].append(seconds(lambda name=name: infer(name)))  # type: ignore[misc]
    table = {}
    for kind, both in found.items():
        rates = {name: o.batch / statistics.median(taken) for name, taken in both.items()}
        table[kind] = {**rates, "ratio": rates["einthoven"] / rates["transformers"]}
    if o.json:
        print(json.dumps({"size": o.size, "batch": o.batch, "precision": o.precision, "losses": losses, **table}))
        return
    unit = "CPU second" if o.device == "cpu" else "second"
    print(f"BEiT-{o.size}, {o.codes} words, 224 x 224, batch {o.batch}, {o.precision}, {o.threads} thread(s), {o.device}")
    print(f"first loss: einthoven {losses['einthoven']:.4f}, transformers {losses['transformers']:.4f}")
    for kind, row in table.items():
        told = f"{row['einthoven']:6.2f} images a {unit}, transformers {row['transformers']:6.2f}"
        print(f"{kind:6s} einthoven {told}: x {row['ratio']:.2f}")


if __name__ == "__main__":
    main()
