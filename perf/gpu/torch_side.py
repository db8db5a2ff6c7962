# PyTorch on the same card, beside `kernels bench` and the engine's training step: one JSON line per row, samples included, written as it comes.
# Random data, bf16; times by CUDA events, seven samples after warm-up, each of them twenty calls without a host wait between.
# What this PyTorch has not (torch.compile before 2.0, cuDNN's attention before 2.5) or cannot do on this card is skipped aloud, each with a
# time of its own: SIGALRM ends what compiles for too long. PyTorch keeps bf16 weights and moments here and adds gradients up in bf16, the
# engine an exact fp32 master, fp32 moments and gradients: what is left of the difference is in PyTorch's favour.
#   python3 torch_side.py CARD PART...        parts: kernels, 124m, 1b, stage-8b;   CARD cpu: a rehearsal at tiny sizes, whose times say nothing
import contextlib
import json
import signal
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

CARD = sys.argv[1] if len(sys.argv) > 1 else "0"
ON_CPU = CARD == "cpu"
DEVICE = "cpu" if ON_CPU else "cuda"
SAMPLES, CALLS = 7, 1 if ON_CPU else 20
failed = False
if not ON_CPU:
    torch.cuda.set_device(int(CARD))
torch.manual_seed(1)


class TookTooLong(Exception):
    pass


def attempt(what, work, limit=45):
    """Runs one measurement; whatever goes wrong with it costs that many seconds at most and no other measurement."""
    global failed

    def ring(*_):
        raise TookTooLong(f"not done within {limit} s")

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(limit)
    try:
        work()
    except Exception as error:
        failed = True
        print(f"torch_side: FAILED {what}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        signal.alarm(0)
        if not ON_CPU:
            torch.cuda.empty_cache()


def skip(what, why):
    print(f"torch_side: SKIPPED {what}: {why} (PyTorch {torch.__version__})", file=sys.stderr, flush=True)


def modes():
    """Kinds of run: eager, compiled, compiled with cuDNN's attention before flash attention."""
    yield "eager", contextlib.nullcontext
    if not hasattr(torch, "compile"):
        skip("compile", "there is no torch.compile")
        return
    yield "compile", contextlib.nullcontext
    if backend("CUDNN_ATTENTION") is None:
        skip("compile-cudnn", "there is no choice of cuDNN's attention")
    elif not ON_CPU:
        from torch.nn.attention import SDPBackend, sdpa_kernel
        yield "compile-cudnn", lambda: sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION], set_priority=True)


def backend(name):
    with contextlib.suppress(ImportError):
        from torch.nn.attention import SDPBackend
        return getattr(SDPBackend, name, None)
    return None


def seconds(work, calls=CALLS):
    for _ in range(3):
        work()
    samples = []
    for _ in range(SAMPLES):
        if ON_CPU:
            start = time.perf_counter()
            for _ in range(calls):
                work()
            samples.append((time.perf_counter() - start) / calls)
            continue
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
    print(json.dumps({**line, **more}), flush=True)


def random(*shape, grad=False):
    return torch.randn(*shape, device=DEVICE, dtype=torch.bfloat16, requires_grad=grad)


def attend(q, k, v):
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, **({"enable_gqa": True} if q.shape[1] != k.shape[1] else {}))
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))   # PyTorch before 2.0: only to rehearse
    scores = (q @ k.transpose(-1, -2)).float() / q.shape[-1] ** 0.5
    later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(later, float("-inf")).softmax(-1).to(q.dtype) @ v


def rms_norm(x, weight):
    if hasattr(F, "rms_norm"):
        return F.rms_norm(x, (x.shape[-1],), weight, 1e-5)
    y = x.float()                                                               # before 2.4
    return (y * (y.square().mean(-1, keepdim=True) + 1e-5).rsqrt()).to(x.dtype) * weight


def copy():
    a, b = random(256 if ON_CPU else 256 << 19), random(256 if ON_CPU else 256 << 19)
    row("copy", "256 MiB", seconds(lambda: b.copy_(a)), nbytes=2 * a.numel() * 2)


def product():
    n = 16 if ON_CPU else 8192
    a, b = random(n, n), random(n, n)
    row("product", f"{n}^3 bf16", seconds(lambda: a @ b), flops=2 * n**3)


# As the case attention_forward of `kernels bench`: 2*B*H*T^2*D FLOP forward, 2.5 times as many backward, the causal half of them.
def attention(name, width=128, heads=16, tokens=64 if ON_CPU else 4096):
    choice = contextlib.nullcontext()
    if name:
        from torch.nn.attention import sdpa_kernel
        choice = sdpa_kernel(backend(name))
    q, k, v = (random(1, heads, tokens, width, grad=True) for _ in range(3))
    g = random(1, heads, tokens, width)
    causal, shape = 2 * heads * tokens * tokens * width, f"T={tokens} H={heads} D={width}"
    with choice:
        with torch.no_grad():
            row("attention_forward", shape, seconds(lambda: attend(q, k, v)), flops=causal, backend=name or "default")
        out = attend(q, k, v)
        row("attention_backward", shape, seconds(lambda: torch.autograd.grad(out, (q, k, v), g, retain_graph=True)), flops=2.5 * causal, backend=name or "default")


# As the cases add_rmsnorm_forward and swiglu_forward of `kernels bench`: the same elements, so the same bytes.
def elementwise(name, kind):
    rows, width = (4, 64) if ON_CPU else (16384, 4096) if name == "add_rmsnorm_forward" else (8192, 8192)

    def add_norm(x, y, w):
        h = x + y
        return h, rms_norm(h, w)

    def swiglu(gu):
        g, u = gu.chunk(2, -1)
        return F.silu(g) * u

    f, inputs, nbytes = ((add_norm, (random(rows, width), random(rows, width), random(width)), 8) if name == "add_rmsnorm_forward"
                         else (swiglu, (random(rows, 2 * width),), 6))
    work = torch.compile(f) if kind == "compile" else f
    row(name, f"R={rows} C={width}", seconds(lambda: work(*inputs)), nbytes=nbytes * rows * width, mode=kind)


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return rms_norm(x, self.weight.to(x.dtype))


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
        a = attend(self.rotate(q, cos, sin), self.rotate(k, cos, sin), v)
        x = x + self.out(a.transpose(1, 2).flatten(2))
        g, u = self.gate_up(self.norm2(x)).chunk(2, -1)
        return x + self.down(F.silu(g) * u)


class Model(nn.Module):
    """A model of the engine, as run.sh trains it on bytes."""

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


def training(name, kind, choice):
    shape, batch, tokens, microbatches = SHAPES[name]
    if ON_CPU:
        shape, batch, tokens = (64, 2, 2, 2 if name == "124m" else 1, 32, 96), 1, 32
    torch.manual_seed(1)
    model = Model(*shape, tokens).bfloat16().to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, **({} if ON_CPU else {"fused": True}))
    if kind != "eager":
        torch.compiler.reset()
    forward = model if kind == "eager" else torch.compile(model)
    ids = torch.randint(256, (batch, tokens + 1), device=DEVICE)
    first = []

    def step():
        for _ in range(microbatches):
            loss = forward(ids[:, :-1], ids[:, 1:])
            first or first.append(loss.item())
            (loss / microbatches).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    with choice():
        samples = seconds(step, calls=1 if ON_CPU else 2)
    # The engine's count (ModelConfig.TrainingFlopPerToken): 6*N_matmul + 6*L*H*D*T, attention causal, the embedding not multiplied.
    weights = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear))
    width, layers, heads, _, head_width, _ = shape
    flop = 6 * weights + 6 * layers * heads * head_width * tokens
    rate = microbatches * batch * tokens / samples[SAMPLES // 2]
    row("train-step", f"{name} B={batch} T={tokens} x{microbatches}", samples, mode=kind, model=name, tokensPerSecondMedian=rate, flopPerToken=flop,
        flops=flop * microbatches * batch * tokens, parameters=sum(p.numel() for p in model.parameters()), firstLoss=first[0])


for part in sys.argv[2:]:
    if part != "kernels":
        for kind, choice in modes():
            attempt(f"{part} {kind}", lambda: training(part, kind, choice), limit=100)
        continue
    attempt("copy", copy)
    attempt("product", product)
    attempt("attention", lambda: attention(None))
    for name in ("FLASH_ATTENTION", "CUDNN_ATTENTION"):
        if backend(name) is None or ON_CPU:
            skip(name, "only on a card, and from PyTorch 2.5 on")
        else:
            attempt(name, lambda: attention(name))
    for kind, _ in modes():
        if kind in ("eager", "compile"):
            for name in ("add_rmsnorm_forward", "swiglu_forward"):
                attempt(f"{name} {kind}", lambda: elementwise(name, kind))
sys.exit(failed)
