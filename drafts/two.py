import sys; sys.path.insert(0,'/work/wt/lejepa/tests')
import torch, joined_batch
from sslbook import distributed
torch.set_num_threads(1); torch.set_default_dtype(torch.float64)
with distributed.process_group("cpu"):
    r={"one batch":joined_batch.one_batch("LeJEPA"),"training":joined_batch.training("LeJEPA")}
    if distributed.rank()==0: torch.save(r, sys.argv[1])
