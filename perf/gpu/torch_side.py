# PyTorch on the same card, beside `kernels bench` and the engine's training step: one JSON line per row, samples included.
# Random data, bf16; times by CUDA events, seven samples after warm-up, each of them twenty calls without a host wait between.
#   python3 torch_side.py CARD PART...        parts: kernels, 124m, 1b, stage-8b
import json
import sys

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.cuda.set_device(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
torch.manual_seed(1)
torch.backends.cuda.matmul.allow_tf32 = True
SAMPLES, CALLS = 7, 20


def seconds(work, calls=CALLS):
    for _ in range(3):
        work()
    samples = []
    for _ in range(SAMPLES):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(calls):
            work()
        end.record()
        end.synchronize()
        samples.append(start.elapsed_time(end) / 1e3 / calls)
    return sorted(samples)


def row(scenario, shape, samples, nbytes=0, flops=0, **more):
    median = samples[len(samples) // 2]
    line = {"scenario": "gpu.torch." + scenario, "shape": shape, "torch": torch.__version__,
            "timeUsSamples": [s * 1e6 for s in samples], "timeUsMedian": median * 1e6}
    if nbytes:
        line["bytesPerSecond"] = nbytes / median
    if flops:
        line["tflops"] = flops / median / 1e12
    print(json.dumps(line | more), flush=True)


def random(*shape, grad=False):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16, requires_grad=grad)


def copy():
    a, b = random(256 << 19), random(256 << 19)
    row("copy", "256 MiB", seconds(lambda: b.copy_(a)), nbytes=2 * a.numel() * 2)


def product(n=8192):
    a, b = random(n, n), random(n, n)
    row("product", f"{n}^3 bf16", seconds(lambda: a @ b), flops=2 * n**3)


def attention(width=128, heads=16, tokens=4096):
    q, k, v = (random(1, heads, tokens, width, grad=True) for _ in range(3))
    g = random(1, heads, tokens, width)
    causal = 2 * heads * tokens * tokens * width
    with torch.no_grad():
        row("attention_forward", f"T={tokens} H={heads} D={width}",
            seconds(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True)), flops=causal)
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    row("attention_backward", f"T={tokens} H={heads} D={width}",
        seconds(lambda: torch.autograd.grad(out, (q, k, v), g, retain_graph=True)), flops=2.5 * causal)


def elementwise(rows=4096, width=4096):
    x, y, w = random(rows, width), random(rows, width), random(width)
    gate_up = random(rows, 2 * width)

    def add_norm(x, y, w):
        h = x + y
        return h, F.rms_norm(h.float(), (width,), eps=1e-5).bfloat16() * w

    def swiglu(gu):
        g, u = gu.chunk(2, -1)
        return F.silu(g) * u

    for name, f, inputs, nbytes in (("add_rmsnorm_forward", add_norm, (x, y, w), 8 * rows * width),
                                    ("swiglu_forward", swiglu, (gate_up,), 6 * rows * width)):
        for kind, g in (("eager", f), ("compile", torch.compile(f))):
            row(name, f"R={rows} C={width}", seconds(lambda: g(*inputs)), nbytes=nbytes, mode=kind)


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), 1e-5)


class Block(nn.Module):
    def __init__(self, width, heads, kv_heads, head_width, hidden):
        super().__init__()
        self.heads, self.kv_heads, self.head_width = heads, kv_heads, head_width
        self.norm1, self.norm2 = Norm(width), Norm(width)
        self.qkv = nn.Linear(width, (heads + 2 * kv_heads) * head_width, bias=False)
        self.out = nn.Linear(heads * head_width, width, bias=False)
        self.gate_up, self.down = nn.Linear(width, 2 * hidden, bias=False), nn.Linear(hidden, width, bias=False)

    def rotate(self, x, cos, sin):
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def forward(self, x, cos, sin):
        b, t, _ = x.shape
        heads = self.qkv(self.norm1(x)).view(b, t, -1, self.head_width).transpose(1, 2)
        q, k, v = heads.split([self.heads, self.kv_heads, self.kv_heads], 1)
        a = F.scaled_dot_product_attention(self.rotate(q, cos, sin), self.rotate(k, cos, sin), v, is_causal=True,
                                           enable_gqa=self.heads != self.kv_heads)
        x = x + self.out(a.transpose(1, 2).flatten(2))
        g, u = self.gate_up(self.norm2(x)).chunk(2, -1)
        return x + self.down(F.silu(g) * u)


class Model(nn.Module):
    """A model of the engine, as run.sh trains it."""

    def __init__(self, width, layers, heads, kv_heads, head_width, hidden, tokens, vocabulary=256):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(Block(width, heads, kv_heads, head_width, hidden) for _ in range(layers))
        self.norm, self.head = Norm(width), nn.Linear(width, vocabulary, bias=False)
        angles = torch.outer(torch.arange(tokens), 500_000.0 ** (-torch.arange(0, head_width, 2) / head_width))
        self.register_buffer("cos", angles.cos().bfloat16())
        self.register_buffer("sin", angles.sin().bfloat16())

    def forward(self, ids, targets):
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return F.cross_entropy(self.head(self.norm(x)).float().flatten(0, 1), targets.flatten())


# The shapes of run.sh: model, sequences of a microbatch, tokens of a sequence, microbatches of a step.
SHAPES = {
    "124m": ((768, 12, 12, 12, 64, 2048), 16, 1024, 1),
    "1b": ((2048, 22, 32, 4, 64, 5632), 4, 2048, 4),
    "stage-8b": ((4096, 4, 32, 8, 128, 14336), 2, 4096, 4),
}


def training(name):
    shape, batch, tokens, microbatches = SHAPES[name]
    for kind in ("eager", "compile"):
        torch.manual_seed(1)
        with torch.device("cuda"):
            model = Model(*shape, tokens).bfloat16()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
        forward = torch.compile(model) if kind == "compile" else model
        ids = torch.randint(256, (batch, tokens + 1), device="cuda")

        def step():
            for _ in range(microbatches):
                (forward(ids[:, :-1], ids[:, 1:]) / microbatches).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        samples = seconds(step, calls=2)
        row("train-step", f"{name} B={batch} T={tokens} x{microbatches}", samples, mode=kind, model=name,
            tokensPerSecondMedian=microbatches * batch * tokens / samples[SAMPLES // 2])
        del model, forward, optimizer
        torch.cuda.empty_cache()


for part in sys.argv[2:]:
    if part == "kernels":
        for measure in (copy, product, attention, elementwise):
            measure()
    else:
        training(part)
