def set_batch_size(m,d,v,attr=None):
    (d if d is not None else m).batch_size=v
def get_batch_size(m,d,attr=None): return d.batch_size
