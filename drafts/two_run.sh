python /tmp/lj/two.py /tmp/lj/one.pt && python -m torch.distributed.run --standalone --nproc-per-node=2 /tmp/lj/two.py /tmp/lj/two.pt 2>&1 | tail -3
python - <<'P'
import torch
a,b=torch.load('/tmp/lj/one.pt'),torch.load('/tmp/lj/two.pt')
for k in a:
    assert a[k].keys()==b[k].keys()
    for n in a[k]: torch.testing.assert_close(b[k][n],a[k][n],rtol=1e-8 if k=="one batch" else 1e-6,atol=1e-10 if k=="one batch" else 1e-8)
    print(k, len(a[k]), "equal")
P
