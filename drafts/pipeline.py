"""Tune, choose, commit the recipe, log, study, cifar: unattended, lowest priority. Log: /tmp/lj/pipeline.log"""
import json, re, subprocess, time, os, glob
WT = "/work/wt/lejepa"; os.chdir(WT)
def sh(*a, **k): 
    print("$", *a, flush=True); return subprocess.run(a, **k)
def results():
    found = []
    for f in ("/tmp/lj_tune1.log", "/tmp/lj_tune2.log"):
        if os.path.exists(f):
            for line in open(f):
                m = re.match(r"(\{.*?\}) (\{'kNN.*?\}) pred", line)
                if m: found.append((json.loads(m[1]), eval(m[2]), line.strip()))
    return found
if not os.path.exists("/tmp/lj_tune1.done"):
    first = [{"m": {"dim": 64}, "t": {"epochs": 10, "batch_size": 32}}, {"m": {"dim": 64}, "t": {"epochs": 10}}, {"m": {"dim": 16}, "t": {"epochs": 10, "batch_size": 32}}, {"m": {"dim": 64, "lambd": 0.02}, "t": {"epochs": 10, "batch_size": 32}}]
    with open("/tmp/lj_tune1.log", "w") as out:
        sh("python", "/tmp/lj_try.py", *map(json.dumps, first), stdout=out)
    open("/tmp/lj_tune1.done", "w")
more = [
 {"m": {"dim": 64}, "t": {"epochs": 10, "batch_size": 32, "lr": 5e-3}},
 {"m": {"dim": 256}, "t": {"epochs": 10, "batch_size": 32}},
 {"m": {"dim": 64}, "t": {"epochs": 8, "batch_size": 64}, "crop": [4, 16, [0.1, 0.25]]},
]
if not os.path.exists("/tmp/lj_tune2.done"):
    with open("/tmp/lj_tune2.log", "w") as out:
        sh("python", "/tmp/lj_try.py", *map(json.dumps, more), stdout=out)
    open("/tmp/lj_tune2.done", "w")
best = max(results(), key=lambda r: r[1]["kNN"] + r[1]["linear"])
print("best:", best, flush=True)
spec = best[0]
p = "sslbook/methods/lejepa.py"; s = open(p).read()
lr, bs = spec["t"].get("lr", 2e-3), spec["t"].get("batch_size", 128)
arguments = dict(dim=64, hidden=256, layers=2, lambd=0.05, slices=128) | spec["m"]
args = ", ".join(f"{k}={v}" for k, v in arguments.items())
adamw = lambda b: f"adamw({lr:g}, batch_size={b})"
extra = ""
if "crop" in spec: extra = "  # multi-crop was best: set views by hand"
new_cpu = f'''        "cpu": Recipe(
            dict({args}),
            {adamw(bs)},{extra}
            source="the best of seven at a quarter of the length; other pictures, data seed 100",
        ),
'''
new_cifar = f'''        "cifar10-cpu": Recipe(
            dict({args}),
            {adamw(4 * bs if bs < 128 else 256)},
            source="the recipe of the shapes, with a larger batch",
        ),
'''
i, j = s.index('        "cpu": Recipe('), s.index('        "cifar10-cpu": Recipe('); k = s.index('        "gpu": Recipe(')
open(p, "w").write(s[:i] + new_cpu + new_cifar + s[k:])
sh("ruff", "format", "-q", p)
sh("git", "commit", "-qam", "LeJEPA's recipe, the best of seven short runs on other pictures")
for seed in "012": sh("python", "experiments/train.py", "LeJEPA", "--budget", "cpu", "--seed", seed)
sh("git", "add", "results"); sh("git", "commit", "-qam", "LeJEPA's logs on the shapes, three seeds")
sh("python", "experiments/lejepa_recipe.py", "--seed", "0")
sh("git", "add", "results"); sh("git", "commit", "-qam", "LeJEPA's study: does the loss predict the accuracy? seed 0")
sh("python", "experiments/train.py", "LeJEPA", "--budget", "cifar10-cpu", "--seed", "0", env=os.environ | {"SSLBOOK_DATA": "/tmp/data"})
sh("git", "add", "results"); sh("git", "commit", "-qam", "LeJEPA's log on CIFAR-10")
print("done", flush=True)
