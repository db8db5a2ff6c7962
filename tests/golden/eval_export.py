# Evaluates an exported Hugging Face directory with the plain PyTorch Llama of llama.py, which shares nothing with the C#:
#   /usr/bin/python3 tests/golden/eval_export.py DIR DATA [--sequence T] [--ids]
# DATA is text for the byte tokenizer (ids are the bytes), or with --ids little-endian int32 token ids. Windows as in
# `orion-engine eval`: non-overlapping, T inputs each predicting its next token, the incomplete tail left out.
# Prints {"loss": mean nats per predicted token, "tokens": predicted}.
import argparse
import json
import pathlib
import sys

import numpy
import torch

import llama


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--sequence", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--ids", action="store_true")
    options = parser.parse_args()
    config = json.loads((options.directory / "config.json").read_text())
    tensors, _ = llama.read_safetensors(options.directory / "model.safetensors")
    weights = {name: value.float() for name, value in tensors.items()}
    raw = options.data.read_bytes()
    ids = numpy.frombuffer(raw, "<i4" if options.ids else numpy.uint8).astype(numpy.int64)
    if not options.ids and config["vocab_size"] != 256:
        sys.exit(f"vocabulary {config['vocab_size']}: this is not a byte model; give its token ids with --ids")
    T = options.sequence
    count = (len(ids) - 1) // T
    inputs = torch.from_numpy(ids[: count * T]).view(count, T)
    targets = torch.from_numpy(ids[1 : count * T + 1]).view(count, T)
    total = 0.0
    with torch.no_grad():
        for i in range(0, count, options.batch):
            part = slice(i, min(i + options.batch, count))
            total += llama.loss(inputs[part], targets[part], weights, config).item() * targets[part].numel()
    print(json.dumps({"loss": total / (count * T), "tokens": count * T}))


if __name__ == "__main__":
    main()
