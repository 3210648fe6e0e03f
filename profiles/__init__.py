"""The reference matrix, its workloads and its lockfile."""
