# A plain Llama in PyTorch, written from the formulas and sharing nothing with the C# code: the oracle of the golden files
# and of exported checkpoints. RMSNorm, rotary embedding in the half-split layout, grouped-query attention, SwiGLU, untied
# head; and the two boundaries, on full matrices and in whatever precision the weights have.
#   sender     z = W4*silu(FFN(norm(a))) + a[0:Z]                                              ResBM, arXiv:2604.11947
#   resbm      d = relu(Wd*z)    t = Attn(norm(d))    x = [t[0:Z] + z, t[Z:]]    y = x + FFN(norm(x))
#   anchored   x = A[id] + [z, 0]    d = relu(Wd*z)    a = x + Attn(norm(x + d))    y = a + FFN(norm(a))
import json
import struct

import numpy
import torch
import torch.nn.functional as F


def rms_norm(x, weight, epsilon):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + epsilon) * weight


def rotate(x, base):
    """x [B, heads, T, D]"""
    tokens, width = x.shape[-2], x.shape[-1]
    frequency = base ** (-torch.arange(0, width // 2, dtype=torch.float64) * 2 / width)
    angle = torch.arange(tokens, dtype=torch.float64)[:, None] * frequency[None, :]
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    low, high = x[..., : width // 2], x[..., width // 2 :]
    return torch.cat([low * cos - high * sin, high * cos + low * sin], -1)


def attention(x, w, layer, c):
    name = f"model.layers.{layer}.self_attn."
    B, T, _ = x.shape
    H, G, D = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
    q = (x @ w[name + "q_proj.weight"].T).view(B, T, H, D).transpose(1, 2)
    k = (x @ w[name + "k_proj.weight"].T).view(B, T, G, D).transpose(1, 2)
    v = (x @ w[name + "v_proj.weight"].T).view(B, T, G, D).transpose(1, 2)
    q, k = rotate(q, c["rope_theta"]), rotate(k, c["rope_theta"])
    k, v = k.repeat_interleave(H // G, 1), v.repeat_interleave(H // G, 1)
    scores = q @ k.transpose(-1, -2) / D**0.5
    scores = scores.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), float("-inf"))
    out = (scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, H * D)
    return out @ w[name + "o_proj.weight"].T


def feed_forward(x, w, layer):
    name = f"model.layers.{layer}.mlp."
    gate, up = x @ w[name + "gate_proj.weight"].T, x @ w[name + "up_proj.weight"].T
    return (F.silu(gate) * up) @ w[name + "down_proj.weight"].T


def anchor(ids, w, name):
    if name + "anchor.weight" in w:
        return w[name + "anchor.weight"][ids]
    return w[name + "anchor.embedding.weight"][ids] @ w[name + "anchor.projection.weight"].T


def logits(ids, w, c):
    """ids [B, T] -> [B, T, V]"""
    kind, boundaries, Z = c.get("bottleneck_kind", "none"), c.get("bottleneck_boundaries", []), c.get("bottleneck_dim", 0)
    h, epsilon = w["model.embed_tokens.weight"][ids], c["rms_norm_eps"]
    for layer in range(c["num_hidden_layers"]):
        name = f"model.layers.{layer}."
        norm1, norm2 = w[name + "input_layernorm.weight"], w[name + "post_attention_layernorm.weight"]
        attend = lambda x: attention(rms_norm(x, norm1, epsilon), w, layer, c)
        if kind != "none" and layer in boundaries:
            z, padded = h, F.pad(h, (0, c["hidden_size"] - Z))
            d = F.relu(z @ w[name + "bottleneck.decoder.weight"].T)
            if kind == "resbm":
                a = attend(d) + padded
            else:
                x = anchor(ids, w, name + "bottleneck.") + padded
                a = x + attend(x + d)
        else:
            a = h + attend(h)
        f = feed_forward(rms_norm(a, norm2, epsilon), w, layer)
        if kind != "none" and layer + 1 in boundaries:
            h = F.silu(f) @ w[name + "bottleneck.encoder.weight"].T + a[..., :Z]
        else:
            h = a + f
    return rms_norm(h, w["model.norm.weight"], epsilon) @ w["lm_head.weight"].T


def loss(ids, targets, w, c):
    return F.cross_entropy(logits(ids, w, c).flatten(0, 1), targets.flatten())


TYPES = {"F32": numpy.float32, "F64": numpy.float64, "I32": numpy.int32}


def read_safetensors(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        if entry["dtype"] == "BF16":
            high = numpy.frombuffer(data[begin:end], numpy.uint16).astype(numpy.uint32) << 16
            array = high.view(numpy.float32)
        else:
            array = numpy.frombuffer(data[begin:end], TYPES[entry["dtype"]])
        tensors[name] = torch.from_numpy(array.reshape(entry["shape"]).copy())
    return tensors, metadata


def write_safetensors(path, arrays, metadata):
    """arrays: name -> numpy array of float32, float64 or int32"""
    header, offset = {"__metadata__": metadata}, 0
    for name, array in arrays.items():
        kind = next(key for key, value in TYPES.items() if array.dtype == value)
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            file.write(array.tobytes())
