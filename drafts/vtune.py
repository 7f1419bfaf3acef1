import sys,time,torch
from sslbook import evaluate, sets
from sslbook.budget import BUDGETS
from sslbook.pretrain import pretrain
plan=BUDGETS["cpu"]; recipe=plan.recipe("VICReg")
train,test=sets.load("shapes",train=plan.train,test=plan.test,seed=100)
ep=int(sys.argv[1])
for change,opts in [({},{}),({},dict(batch_size=64)),({},dict(batch_size=64,lr=4e-3)),({},dict(batch_size=32)),({},dict(lr=4e-3))][int(sys.argv[2]):]:
    m=plan.make("VICReg",0,**change)
    c=time.process_time()
    h=pretrain(m,train,seed=0,show_progress=False,**recipe.train|dict(epochs=ep)|opts)
    c=time.process_time()-c
    kn=evaluate.knn(evaluate.embed(m.encoder,train),train.labels,evaluate.embed(m.encoder,test),test.labels,k=200)
    print(change,opts,ep,f"knn {kn:.3f} cpu {c:.0f}",{k:round(h[k][-1],3) for k in ("invariance","variance","covariance")},flush=True)
