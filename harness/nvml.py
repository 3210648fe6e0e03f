from dataclasses import dataclass
@dataclass
class Gpu:
    name:str; memory_bytes:int; uuid:str; driver:str
def visible_gpus(): return []
