"""Small trainings, their oracles, and the rules that lr_rule.py judges by them."""
