# The peer of suite train-step: preset 30m as one would write it in eager PyTorch on a CPU (modules, F.* functions, AdamW,
# clipping), with the threads it is told. Each line on standard input asks for one training step; the answer is
# its wall seconds and its processor seconds.
#   /usr/bin/python3 torch_step.py THREADS
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

V, C, L, H, FF, B, T = 4096, 512, 8, 8, 1408, 4, 512


class RmsNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(C))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


def linear(inputs, outputs):
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=0.02)
    return layer


class Block(nn.Module):
    def __init__(self, cos, sin, mask):
        super().__init__()
        self.norm1, self.norm2 = RmsNorm(), RmsNorm()
        self.qkv, self.out = linear(C, 3 * C), linear(C, C)
        self.gate_up, self.down = linear(C, 2 * FF), linear(FF, C)
        self.cos, self.sin, self.mask = cos, sin, mask

    def rotate(self, x):
        low, high = x.chunk(2, -1)
        return torch.cat([low * self.cos - high * self.sin, high * self.cos + low * self.sin], -1)

    def forward(self, h):
        q, k, v = (x.view(B, T, H, C // H).transpose(1, 2) for x in self.qkv(self.norm1(h)).chunk(3, -1))
        scores = self.rotate(q) @ self.rotate(k).transpose(-1, -2) * (C // H) ** -0.5
        attended = (scores + self.mask).softmax(-1) @ v
        h = h + self.out(attended.transpose(1, 2).reshape(B, T, C))
        gate, up = self.gate_up(self.norm2(h)).chunk(2, -1)
        return h + self.down(F.silu(gate) * up)


class Llama(nn.Module):
    def __init__(self):
        super().__init__()
        angle = torch.arange(T)[:, None] * 500000.0 ** (-torch.arange(0, C // H // 2) * 2 / (C // H))
        mask = torch.full((T, T), float("-inf")).triu(1)
        self.embedding = nn.Embedding(V, C)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(angle.cos(), angle.sin(), mask) for _ in range(L))
        self.norm, self.head = RmsNorm(), linear(C, V)

    def forward(self, ids, targets):
        h = self.embedding(ids)
        for block in self.blocks:
            h = block(h)
        return F.cross_entropy(self.head(self.norm(h)).view(-1, V), targets.reshape(-1))


def main():
    torch.set_num_threads(int(sys.argv[1]))
    torch.manual_seed(1)
    model = Llama()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    print(f"torch {torch.__version__}, {sum(p.numel() for p in model.parameters())} parameters", flush=True)
    for _ in sys.stdin:
        started, started_cpu = time.perf_counter(), time.process_time()
        tokens = torch.randint(0, V, (B, T + 1))
        optimizer.zero_grad()
        loss = model(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()
        print(time.perf_counter() - started, time.process_time() - started_cpu, flush=True)


if __name__ == "__main__":
    main()
