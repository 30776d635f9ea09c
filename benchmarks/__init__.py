"""Speed against peers: every case times both sides in turn, in one run, and reports the ratio.

make bench                       # all cases
python -m benchmarks publish     # one of them
"""
