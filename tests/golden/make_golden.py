# Writes tests/golden/model/*.safetensors with PyTorch in double precision (Debian's python3-torch, 1.13):
#   /usr/bin/python3 tests/golden/make_golden.py
# Each file is one small model: weights, tokens, the first step's logits, loss and every gradient, and the losses of ten
# training steps with AdamW and with Muon from the same weights. The tests read them; they never write them.
import json
import math
import pathlib

import numpy
import torch

import llama

STEPS, SEQUENCES, TOKENS = 10, 2, 11
MODEL = dict(
    vocab_size=61, hidden_size=28, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=6,
    intermediate_size=37, rms_norm_eps=1e-5, rope_theta=500000.0, bottleneck_kind="none", bottleneck_dim=0,
    bottleneck_boundaries=[], anchor_rank=0)
CASES = {
    "plain": {},
    "resbm": dict(bottleneck_kind="resbm", bottleneck_dim=5, bottleneck_boundaries=[2]),
    "anchored": dict(bottleneck_kind="anchored", bottleneck_dim=5, bottleneck_boundaries=[2]),
    "anchored-factors": dict(bottleneck_kind="anchored", bottleneck_dim=5, bottleneck_boundaries=[1, 2], anchor_rank=3),
}
TRAINING = dict(lr=0.02, floor=0.1, warmup=2, beta1=0.9, beta2=0.95, eps=1e-8, momentum=0.95, decay=0.1, clip=0.5)


def shapes(c):
    V, C, F = c["vocab_size"], c["hidden_size"], c["intermediate_size"]
    Q, K = c["num_attention_heads"] * c["head_dim"], c["num_key_value_heads"] * c["head_dim"]
    yield "model.embed_tokens.weight", (V, C)
    for i in range(c["num_hidden_layers"]):
        name = f"model.layers.{i}."
        yield name + "input_layernorm.weight", (C,)
        yield name + "self_attn.q_proj.weight", (Q, C)
        yield name + "self_attn.k_proj.weight", (K, C)
        yield name + "self_attn.v_proj.weight", (K, C)
        yield name + "self_attn.o_proj.weight", (C, Q)
        yield name + "post_attention_layernorm.weight", (C,)
        yield name + "mlp.gate_proj.weight", (F, C)
        yield name + "mlp.up_proj.weight", (F, C)
        yield name + "mlp.down_proj.weight", (C, F)
        if i + 1 in c["bottleneck_boundaries"]:
            yield name + "bottleneck.encoder.weight", (c["bottleneck_dim"], C)
        if i in c["bottleneck_boundaries"]:
            yield name + "bottleneck.decoder.weight", (C, c["bottleneck_dim"])
            if c["bottleneck_kind"] == "anchored" and c["anchor_rank"] == 0:
                yield name + "bottleneck.anchor.weight", (V, C)
            elif c["bottleneck_kind"] == "anchored":
                yield name + "bottleneck.anchor.embedding.weight", (V, c["anchor_rank"])
                yield name + "bottleneck.anchor.projection.weight", (C, c["anchor_rank"])
    yield "model.norm.weight", (C,)
    yield "lm_head.weight", (V, C)


def initial(c):
    """Large enough that every path matters; exact in single precision."""
    w = {}
    for name, shape in shapes(c):
        values = 1 + 0.2 * torch.randn(shape) if "norm" in name else 0.2 * torch.randn(shape)
        w[name] = values.float().double().requires_grad_()
    return w


def rate(step):
    t = TRAINING
    if step < t["warmup"]:
        return t["lr"] * (step + 1) / t["warmup"]
    done = (step - t["warmup"]) / (STEPS - t["warmup"])
    low = t["lr"] * t["floor"]
    return low + (t["lr"] - low) * (1 + math.cos(math.pi * done)) / 2


def orthogonalised(u):
    x = u / (u.norm() + 1e-7)
    x = x.T if u.shape[0] > u.shape[1] else x
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if u.shape[0] > u.shape[1] else x


def is_hidden(name):
    return any(part in name for part in ("_proj.", "encoder.", "decoder."))


def train(c, w, batches, muon):
    w = {name: value.detach().clone().requires_grad_() for name, value in w.items()}
    state = {name: [torch.zeros_like(value), torch.zeros_like(value)] for name, value in w.items()}
    t, losses = TRAINING, []
    for step, (ids, targets) in enumerate(batches):
        # two microbatches of one sequence each, as the trainer cuts them; the mean is over all tokens
        loss = llama.loss(ids, targets, w, c)
        grads = dict(zip(w, torch.autograd.grad(loss, list(w.values()))))
        losses.append(loss.item())
        norm = math.sqrt(sum(float((g * g).sum()) for g in grads.values()))
        scale, lr = min(1.0, t["clip"] / norm), rate(step)
        with torch.no_grad():
            for name, value in w.items():
                g, (m, v) = grads[name] * scale, state[name]
                if "norm" not in name:
                    value *= 1 - lr * t["decay"]
                if muon and is_hidden(name):
                    m.mul_(t["momentum"]).add_(g)
                    value -= lr * 0.2 * math.sqrt(max(value.shape)) * orthogonalised(g + t["momentum"] * m)
                else:
                    m.mul_(t["beta1"]).add_((1 - t["beta1"]) * g)
                    v.mul_(t["beta2"]).add_((1 - t["beta2"]) * g * g)
                    unbiased = v / (1 - t["beta2"] ** (step + 1))
                    value -= lr * (m / (1 - t["beta1"] ** (step + 1))) / (unbiased.sqrt() + t["eps"])
    return losses


def make(case, changes):
    torch.manual_seed(20 + list(CASES).index(case))
    c = MODEL | changes
    w = initial(c)
    tokens = torch.randint(0, c["vocab_size"], (STEPS, SEQUENCES, TOKENS + 1))
    # a text with structure, so that ten steps have something to learn: two of three tokens repeat an earlier one
    for t in range(3, TOKENS + 1):
        if t % 3:
            tokens[:, :, t] = tokens[:, :, t - 3]
    ids, targets = tokens[:, :, :-1], tokens[:, :, 1:]
    logits = llama.logits(ids[0], w, c)
    loss = llama.loss(ids[0], targets[0], w, c)
    grads = torch.autograd.grad(loss, list(w.values()))
    batches = list(zip(ids, targets))
    arrays = {"tokens": tokens.to(torch.int32).numpy()}
    arrays |= {"weight." + name: value.detach().float().numpy() for name, value in w.items()}
    arrays |= {"logits": logits.detach().float().numpy(), "loss": numpy.array([loss.item()])}
    arrays |= {"gradient." + name: g.float().numpy() for name, g in zip(w, grads)}
    arrays |= {"losses.adamw": numpy.array(train(c, w, batches, False)), "losses.muon": numpy.array(train(c, w, batches, True))}
    path = pathlib.Path(__file__).parent / "model" / f"{case}.safetensors"
    llama.write_safetensors(path, arrays, {"model": json.dumps(c), "training": json.dumps(TRAINING)})
    print(f"{path.name}: {path.stat().st_size} bytes, loss {loss.item():.6f}, after ten steps {arrays['losses.adamw'][-1]:.6f} AdamW, {arrays['losses.muon'][-1]:.6f} Muon")


if __name__ == "__main__":
    for case, changes in CASES.items():
        make(case, changes)
