def describe_module(m): return {"num_parameters":sum(p.numel() for p in m.parameters())}
def describe_data(d): return {"num_samples":1500}
def fingerprint(w): return "sha256:x"
