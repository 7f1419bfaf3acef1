import json
nb=json.load(open('/work/wt/lejepa/book/redundancy/lejepa.ipynb'))
cells={c['id']:''.join(c['source']) for c in nb['cells']}
g={}
for k in ("setup","chance","chance-check","watch","trap-samples","trap-samples-check","trap-start","trap-start-check","exercise-closed"):
    exec(cells[k],g)
    if k in ("chance","trap-samples","trap-start"):
        for r in g["rows"]: print(r)
    print(k,"ok",flush=True)
import math,torch
def closed_form(x):
    pairs = torch.exp(-((x[:, None] - x[None, :]) ** 2) / 2).mean()
    single = torch.exp(-(x**2) / 4).mean()
    T = pairs - math.sqrt(2) * single + 1 / math.sqrt(3)
    return len(x) * math.sqrt(2 * math.pi) * T
print(g["check"](closed_form))
