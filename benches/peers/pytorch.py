"""The workloads of this crate in PyTorch: on CUDA where there is one, else on the CPU's threads, for orientation.

    python benches/peers/pytorch.py [--only WORKLOAD,...] [--modes eager,graphs,compiled] [--rounds N] [--threads N] [--json]

Shapes, objectives and optimizer are those of src/workload.rs; weights and data are drawn here. Modes are for training
steps, and are taken in turns: graphs records a step once and replays it (CUDA only), compiled is torch.compile.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

ENCODED, CHUNK, BATCHES = 100_000, 4000, 4


def products():
    for m, k, n in (256, 512, 784), (1024, 1024, 1024):
        for flags in "nn", "nt", "tn", "tt":
            yield f"matmul-{m}x{k}x{n}-{flags}", (m, k, n, flags)
    for n in 2048, 4096:
        yield f"matmul-{n}x{n}x{n}-nn", (n, n, n, "nn")
    for batch in 16, 64, 150, 256, 1024:
        yield f"matmul-{batch}x784x300-nn", (batch, 784, 300, "nn")
        yield f"matmul-{batch}x300x784-nt", (batch, 300, 784, "nt")
        yield f"matmul-784x{batch}x300-tn", (784, batch, 300, "tn")


MODELS = {
    "train-784": ([784, 300, 150], 150, "plain"),
    "train-small": ([128, 64, 32], 16, "plain"),
    "train-deep": ([784, 1000, 500, 250, 30], 128, "plain"),
    "train-deep-4096": ([784, 1000, 500, 250, 30], 4096, "plain"),
    "contractive": ([784, 256], 128, "contractive"),
    "denoising": ([784, 256], 128, "denoising"),
    "vae": ([784, 256], 128, "vae"),
}


def wanted(name, only):
    return not only or any(name == o or name.startswith(o + "-") for o in only)


def product(torch, device, m, k, n, flags, dtype):
    a = torch.rand([k, m] if flags[0] == "t" else [m, k], device=device) - 0.5
    b = torch.rand([n, k] if flags[1] == "t" else [k, n], device=device) - 0.5
    a, b = (x.to(dtype).t() if flag == "t" else x.to(dtype) for x, flag in zip((a, b), flags))
    out = torch.empty([m, n], device=device, dtype=dtype)
    return lambda: torch.matmul(a, b, out=out)


def training(torch, device, widths, batch, system, mode="eager"):
    from torch import nn
    from torch.nn import functional as f

    def stack(widths, last):
        layers = []
        for i, (a, b) in enumerate(zip(widths, widths[1:])):
            layers.append(nn.Linear(a, b))
            if last or i + 2 < len(widths):
                layers.append(nn.ReLU())
        return nn.Sequential(*layers)

    if system == "plain":
        encoder = stack(widths, True)
    else:
        encoder = nn.Linear(*widths)
    net = nn.ModuleDict({"encoder": encoder, "decoder": stack(widths[::-1], False)})
    if system == "vae":
        net["log_variance"] = nn.Linear(*widths)
    net.to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, capturable=mode == "graphs")
    batches = [torch.rand(batch, widths[0], device=device) * 0.8 + 0.1 for _ in range(BATCHES)]
    step = 0

    def loss(x):
        if system == "plain":
            return f.mse_loss(net["decoder"](encoder(x)), x)
        if system == "contractive":
            h = torch.sigmoid(encoder(x))
            norms = encoder.weight.square().sum(1)
            penalty = ((h * (1 - h)).square().sum(0) * norms).sum() * (0.1 / batch)
            return (net["decoder"](h) - x).square().sum() / batch + penalty
        if system == "denoising":
            h = torch.sigmoid(encoder(x + 0.2 * torch.randn_like(x)))
            return (net["decoder"](h) - x).square().sum() / batch
        mean, gamma = encoder(x), net["log_variance"](x)
        logits = net["decoder"](mean + (0.5 * gamma).exp() * torch.randn_like(mean))
        bernoulli = f.binary_cross_entropy_with_logits(logits, x, reduction="sum") / batch
        return bernoulli + 0.5 * (gamma.exp() + mean.square() - 1 - gamma).sum() / batch

    if mode == "compiled":
        loss = torch.compile(loss)

    def take():
        nonlocal step
        optimizer.zero_grad()
        loss(batches[step % BATCHES]).backward()
        optimizer.step()
        step += 1

    if mode != "graphs":
        return take
    # A graph reads its batch from one place, into which the next one is copied.
    given = batches[0].clone()

    def recorded():
        optimizer.zero_grad(set_to_none=False)
        loss(given).backward()
        optimizer.step()

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            recorded()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded()

    def replay():
        nonlocal step
        given.copy_(batches[step % BATCHES])
        graph.replay()
        step += 1

    return replay


def encoding(torch, device):
    from torch import nn

    encoder = nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 150), nn.ReLU()).to(device)
    rows = torch.rand(ENCODED, 784)

    def take():
        with torch.no_grad():
            return torch.cat([encoder(chunk.to(device)).cpu() for chunk in rows.split(CHUNK)])

    return take


def measure(wait, takes, rounds):
    """Seconds a step of each of some programs, round by round, in turns."""

    def run(take, steps):
        begun = time.perf_counter()
        for _ in range(steps):
            take()
        wait()
        return (time.perf_counter() - begun) / steps

    counts = []
    for take in takes:
        run(take, 20 if run(take, 1) < 0.1 else 1)
        pace = run(take, 5 if run(take, 1) < 0.1 else 1)
        counts.append(max(1, int(0.15 / pace) + 1))
    rounds = [[run(take, steps) for take, steps in zip(takes, counts)] for _ in range(rounds)]
    return list(zip(*rounds))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=lambda s: s.split(","), default=[])
    parser.add_argument("--modes", type=lambda s: s.split(","), default=["eager"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--first-step", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()

    import torch

    torch.set_num_threads(options.threads)
    # Products in f32, as those of the others.
    torch.backends.cuda.matmul.allow_tf32 = False
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    torch.manual_seed(0)
    if options.first_step:
        training(torch, device, *MODELS["train-784"])()
        wait()
        print("done", flush=True)
        return

    figures = []
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"| workload | unit | PyTorch {torch.__version__}, {name} |\n|---|---|---|")

    def report(workload, unit, figure, seconds):
        figures.append({"workload": workload, "unit": unit, "figure": figure, "seconds": seconds})
        print(f"| {workload} | {unit} | {figure:.3g} |" if figure < 1000 else f"| {workload} | {unit} | {figure:.0f} |")

    for workload, (m, k, n, flags) in products():
        if wanted(workload, options.only):
            kinds = {"": torch.float32}
            if device.type == "cuda":
                kinds["-f16"] = torch.float16
            takes = [product(torch, device, m, k, n, flags, dtype) for dtype in kinds.values()]
            for kind, seconds in zip(kinds, measure(wait, takes, options.rounds)):
                report(workload + kind, "GFLOP/s", 2e-9 * m * k * n / statistics.median(seconds), seconds)
    for workload, model in MODELS.items():
        if wanted(workload, options.only):
            modes = [mode for mode in options.modes if mode != "graphs" or device.type == "cuda"]
            takes = [training(torch, device, *model, mode) for mode in modes]
            for mode, seconds in zip(modes, measure(wait, takes, options.rounds)):
                name = workload if mode == "eager" else f"{workload}, {mode}"
                report(name, "ms/step", 1e3 * statistics.median(seconds), seconds)
    if wanted("encode", options.only):
        [seconds] = measure(wait, [encoding(torch, device)], options.rounds)
        report("encode", "rows/s", ENCODED / statistics.median(seconds), seconds)
    if wanted("first-step", options.only):
        seconds = []
        for _ in range(5):
            begun = time.perf_counter()
            command = [sys.executable, __file__, "--first-step", "--threads", str(options.threads)]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
                child.stdout.readline()
                seconds.append(time.perf_counter() - begun)
        report("first-step", "s", statistics.median(seconds), seconds)
    if options.json:
        print(json.dumps({"pytorch": torch.__version__, "device": name, "workloads": figures}))


if __name__ == "__main__":
    main()
